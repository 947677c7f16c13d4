// SPDX-License-Identifier: MIT
// What clients try that mean harm: requests hidden behind others, bytes that come or go as slowly as they may, hosts
// that are somebody else's.
#include <filesystem>
#include <string>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;

class FileServerHostile : public FileServer {};

const std::string host = "Host: test\r\n";

// Requests of 65,533 bytes in all, the first of which names the victim where the one behind them has its target, were
// positions counted by 16 bits.
std::string requests_before_a_removal() {
  const auto padded = [](const std::string& target, std::size_t bytes) {
    const std::string begin = "GET " + target + " HTTP/1.1\r\n" + host + "X: ";
    return begin + std::string(bytes - begin.size() - 4, 'p') + "\r\n\r\n";
  };
  std::string all = padded("/victim", 1024);
  while (all.size() + 2048 < 65'533) all += padded("/keep", 1024);
  return all + padded("/keep", 65'533 - all.size());
}

TEST_F(FileServerHostile, DoesWhatARequestBehindABodySaysAndNothingElse) {
  files.write("victim", "victim");
  files.write("keep", "keep");
  file_server server(files.path(""), {"--writable", "--threads", "1"});
  const std::string pipelined = requests_before_a_removal() + "DELETE /nosuch HTTP/1.1\r\n" + host + "\r\n";
  for (const bool chunked : {false, true}) {
    http_client client = server.connect();
    // The answer says that the head has been read: the body comes by reads of its own.
    client.send("PUT /up HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n" +
                (chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 10\r\n\r\n"));
    ASSERT_EQ(client.receive().status, 100);
    client.send((chunked ? "a\r\n0123456789\r\n0\r\n\r\n" : "0123456789") + pipelined);
    EXPECT_EQ(client.receive().status / 100, 2);
    http_answer last;
    for (http_answer next = client.receive(); next.status != 0; next = client.receive()) {
      last = next;
      if (next.status == 404) break;
      EXPECT_EQ(next.status, 200);
    }
    if (!chunked) {
      EXPECT_EQ(last.status, 404) << "of what is not there";
    }
    EXPECT_TRUE(std::filesystem::exists(files.path("victim")));
  }
  server.stop();
}

TEST_F(FileServerHostile, LimitsAHeaderBehindABody) {
  files.write("keep", "keep");
  file_server server(files.path(""), {"--writable"});
  for (const std::size_t bytes : {17'000U, 65'400U, 100'000U}) {
    http_client client = server.connect();
    client.send("PUT /up HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    ASSERT_EQ(client.receive().status, 100);
    client.send("0123456789GET /keep HTTP/1.1\r\n" + host + "X: " + std::string(bytes, 'y') + "\r\n\r\n");
    EXPECT_EQ(client.receive().status / 100, 2);
    EXPECT_EQ(client.receive().status, 431) << bytes;
    EXPECT_TRUE(client.ends());
  }
  server.stop();
}

}  // namespace
}  // namespace slabbuf
