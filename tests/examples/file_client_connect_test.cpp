// SPDX-License-Identifier: MIT
// file_client where no connection comes about: it ends in time, with nothing sent and nothing left.
#include "examples/file_client_fixture.hpp"
#include "support/tls_certificates.hpp"

#include <sys/socket.h>
#include <unistd.h>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <list>
#include <mutex>
#include <set>

namespace slabbuf {
namespace {

using support::scripted_request;
using support::scripted_server;

class FileClientConnect : public FileClient {
 protected:
  // With a name server that does not answer. A sanitizer wants to be the first library, and is told that it is not.
  static std::vector<std::string> without_names(const std::vector<std::string>& arguments, int answers = 0) {
    std::vector<std::string> all{"/usr/bin/env", "LD_PRELOAD=" SILENT_RESOLVER,
                                 "RESOLVER_ANSWERS=" + std::to_string(answers),
                                 "ASAN_OPTIONS=verify_asan_link_order=0"};
    const std::vector<std::string> client = command(arguments);
    all.insert(all.end(), client.begin(), client.end());
    return all;
  }
  static outcome run_without_names(const std::vector<std::string>& arguments) {
    support::child_process child(without_names(arguments));
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

// One connection has got it all while another still looks for its server.
TEST_F(FileClientConnect, WaitsForNoNameThoughItCannotSayWhatItGot) {
  const std::string content = random_content(500'000);
  scripted_server server([&](scripted_request& request) {
    if (request.method() != "HEAD") return request.answer("200 OK", "ETag: \"one\"\r\n", content);
    request.send("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nAccept-Ranges: bytes\r\nContent-Length: 500000\r\n\r\n");
  });
  std::string url = server.url();
  url.replace(url.find("127.0.0.1"), 9, "localhost");
  support::child_process child(
      support::without_output(without_names({"get", "--connections", "4", url, files.path("target")}, 1)));
  EXPECT_EQ(child.wait(), 1);  // throws after a while
  EXPECT_EQ(child.standard_error(), "file_client: standard output cannot be written: No space left on device\n");
  EXPECT_TRUE(files.read("target") == content);
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

TEST_F(FileClient, ResumesManyHolesOverAsManyConnectionsAsAreAllowed) {
  const std::string content = random_content(400'000);
  std::string partial = content;
  std::string missing;
  for (std::size_t at = 0; at < content.size(); at += 10'000) {
    partial.replace(at, 100, std::string(100, 'x'));
    missing += (at == 0 ? "[" : ",[") + std::to_string(at) + "," + std::to_string(at + 100) + "]";
  }
  std::mutex mutex;
  std::set<std::string> answering;  // by method and range
  std::size_t most = 0;
  scripted_server server([&](scripted_request& request) {
    {
      const std::lock_guard lock(mutex);
      answering.insert(request.field("Range"));
      most = std::max(most, answering.size());
    }
    serve(request, content, "Repr-Digest: " + digest_of(content) + "\r\n");
    const std::lock_guard lock(mutex);
    answering.erase(request.field("Range"));
  });
  files.write(".target.part", partial);
  files.write(".target.part.json",
              R"({"url":")" + server.url() + R"(","etag":"\"one\"","size":400000,"missing":[)" + missing + "]}");
  expect_got(get(server.url(), {"--connections", "1"}), content);
  EXPECT_EQ(server.requests().size(), 40U);
  EXPECT_EQ(most, 1U);
}

TEST_F(FileClient, ADigestThatIsNoneIsNotTakenForNone) {
  const std::string content = random_content(1000);
  scripted_server server([&](scripted_request& request) {
    serve(request, content, "Repr-Digest: sha-512=:AAAA:\r\nRepr-Digest: sha-256=:AAAA:\r\n");
  });
  const outcome result = get(server.url());
  EXPECT_EQ(result.status, 6) << result.errors;
  EXPECT_NE(result.errors.find("Repr-Digest"), std::string::npos) << result.errors;
  EXPECT_FALSE(left_over());
}

// As a server does that has kept its key from everybody.
TEST_F(FileClient, ServedByAnotherUserIsToldThatACertificateCannotBeReadAgain) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  std::filesystem::create_directory(files.path("own"));
  std::filesystem::create_directory(files.path("root"));
  const support::certificate own = support::make_certificate("localhost", &support::test_authority());
  files.write("own/chain", own.chain_pem);
  files.write("own/key", own.key_pem);
  std::filesystem::permissions(files.path(""), std::filesystem::perms(0755));
  std::filesystem::permissions(files.path("own"), std::filesystem::perms(0700));
  support::child_process server({FILE_SERVER, "--root", files.path("root"), "--https", "127.0.0.1:0", "--cert",
                                 files.path("own/chain"), "--key", files.path("own/key")});
  EXPECT_NE(server.read_line(), "");
  server.signal(SIGHUP);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  const std::string log = server.standard_error();
  EXPECT_NE(log.find("SIGHUP will not bring a new certificate: this user cannot read '" + files.path("own/key")),
            std::string::npos)
      << log;
}

}  // namespace
}  // namespace slabbuf
