// SPDX-License-Identifier: MIT
// file_client where no connection comes about: it ends in time, with nothing sent and nothing left.
#include "examples/file_client_fixture.hpp"

#include <sys/socket.h>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <list>

namespace slabbuf {
namespace {

class FileClientConnect : public FileClient {
 protected:
  // With a name server that does not answer. A sanitizer wants to be the first library, and is told that it is not.
  static outcome run_without_names(const std::vector<std::string>& arguments) {
    std::vector<std::string> all{"/usr/bin/env", "LD_PRELOAD=" SILENT_RESOLVER, "ASAN_OPTIONS=verify_asan_link_order=0"};
    const std::vector<std::string> client = command(arguments);
    all.insert(all.end(), client.begin(), client.end());
    support::child_process child(all);
    const int status = child.wait();  // throws after a while
    return {status, child.standard_error()};
  }

  const std::vector<std::string> hasty{"--timeout", "1", "--retries", "1"};
};

TEST_F(FileClientConnect, GivesUpANameThatIsNeverFound) {
  files.write("source", random_content(50'000));
  for (const bool puts : {false, true}) {
    SCOPED_TRACE(puts);
    std::vector<std::string> arguments = hasty;
    const std::string url = "http://some.test/file";
    puts ? arguments.insert(arguments.end(), {"put", files.path("source"), url})
         : arguments.insert(arguments.end(), {"get", url, files.path("target")});
    const outcome result = run_without_names(arguments);
    EXPECT_EQ(result.status, 3) << result.errors;
    EXPECT_NE(result.errors.find("nothing moved for 1 s"), std::string::npos) << result.errors;
  }
  EXPECT_FALSE(left_over());
}

TEST_F(FileClientConnect, SendsNoBodyBeforeThereIsAConnection) {
  files.write("source", random_content(50'000));
  // Others fill the queue of a socket that accepts nobody: whoever comes now gets no answer at all.
  asio::io_context context;
  asio::ip::tcp::acceptor acceptor(context);
  acceptor.open(asio::ip::tcp::v4());
  acceptor.bind({asio::ip::address_v4::loopback(), 0});
  acceptor.listen(0);
  std::list<asio::ip::tcp::socket> others;
  for (int count = 0; count < 3; ++count) {
    others.emplace_back(context).open(asio::ip::tcp::v4());
    others.back().native_non_blocking(true);
    const asio::ip::tcp::endpoint to = acceptor.local_endpoint();
    ::connect(others.back().native_handle(), to.data(), static_cast<::socklen_t>(to.size()));  // goes on by itself
  }
  const std::string url = "http://127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()) + "/file";
  const outcome result = put(url, hasty);
  EXPECT_EQ(result.status, 3) << result.errors;
  EXPECT_NE(result.errors.find("nothing moved for 1 s"), std::string::npos) << result.errors;
  // Longer than a body is held back.
  const outcome patient = put(url, {"--timeout", "3", "--retries", "0"});
  EXPECT_EQ(patient.status, 3) << patient.errors;
  EXPECT_NE(patient.errors.find("nothing moved for 3 s"), std::string::npos) << patient.errors;
}

}  // namespace
}  // namespace slabbuf
