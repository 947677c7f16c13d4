// SPDX-License-Identifier: MIT
// What file_server does not do, whoever asks: work for those who have gone, lie about what it sends, disturb files that
// are none, lose what it replaces.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <list>
#include <string>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;
using support::varied_bytes;

class FileServerCareful : public FileServer {
 protected:
  // Bytes that are all 0, and nowhere.
  void make_sparse(const std::string& name, std::uint64_t size) {
    files.write(name, "");
    std::filesystem::resize_file(files.path(name), size);
  }

  static constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;
  const std::string want = "Want-Repr-Digest: sha-256=1\r\n";
};

TEST_F(FileServerCareful, TellsNoDigestOfWhatTakesForEverToRead) {
  make_sparse("huge", 2048 * gibibyte);
  files.write("small", "abc");
  file_server server(files.path(""));
  for (int count = 0; count < 40; ++count) {
    const http_answer answer = server.ask("HEAD /huge", want);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.field("repr-digest"), "");
  }
  EXPECT_NE(server.ask("HEAD /small", want).field("repr-digest"), "");
  server.stop();
}

// Each of them reading it would be more than is read at the same time.
TEST_F(FileServerCareful, ReadsAFileOnceForAllWhoWantItsDigest) {
  make_sparse("large", gibibyte * 3 / 4);
  file_server server(files.path(""));
  std::list<http_client> clients;
  for (int count = 0; count < 4; ++count) {
    clients.emplace_back(server.endpoint()).send("HEAD /large HTTP/1.1\r\nHost: test\r\n" + want + "\r\n");
  }
  EXPECT_EQ(server.ask("GET /", "Accept: application/json\r\n").status, 200) << "meanwhile";
  for (http_client& each : clients) {
    EXPECT_EQ(each.receive(true).field("repr-digest").size(), 54U);
  }
  EXPECT_EQ(server.ask("HEAD /large", want).field("repr-digest").size(), 54U);
  server.stop();
}

TEST_F(FileServerCareful, ReadsNoMoreForDigestsWhenItEnds) {
  make_sparse("large", 2 * gibibyte);
  file_server server(files.path(""));
  http_client stays = server.connect();
  {
    http_client leaves = server.connect();
    leaves.send("HEAD /large HTTP/1.1\r\nHost: test\r\n" + want + "\r\n");
  }
  stays.send("HEAD /large HTTP/1.1\r\nHost: test\r\n" + want + "\r\n");
  // Once another request on another connection of each thread is answered, both have been seen.
  for (int count = 0; count < 8; ++count) EXPECT_EQ(server.ask("HEAD /").status, 200);
  server.child().signal(SIGTERM);
  const http_answer answer = stays.receive(true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.field("repr-digest"), "");
  EXPECT_EQ(server.child().wait(), 0);
}

TEST_F(FileServerCareful, SendsACompressedFormOnlyOfWhatIsThereNow) {
  files.write("s.css", "plain");
  files.write("s.css.gz", "compressed");
  files.write("alone.css.gz", "of nothing");
  file_server server(files.path(""), {"--writable"});
  const std::string gzip = "Accept-Encoding: gzip\r\n";
  EXPECT_EQ(server.ask("GET /s.css", gzip).body, "compressed");
  EXPECT_EQ(server.ask("GET /alone.css", gzip).status, 404);
  EXPECT_EQ(server.put("/s.css", "another").status, 204);
  const http_answer fresh = server.ask("GET /s.css", gzip);
  EXPECT_EQ(fresh.body, "another");
  EXPECT_EQ(fresh.field("content-encoding"), "");
  EXPECT_EQ(server.put("/s.css.gz", "compressed anew").status, 204);
  EXPECT_EQ(server.ask("GET /s.css", gzip).body, "compressed anew");
  EXPECT_EQ(server.ask("DELETE /s.css").status, 204);
  EXPECT_EQ(server.ask("GET /s.css", gzip).status, 404);
  server.stop();
}

TEST_F(FileServerCareful, ReplacesWhatTheTagOfItsCompressedFormNames) {
  files.write("s.css", "plain");
  files.write("s.css.gz", "compressed");
  file_server server(files.path(""), {"--writable"});
  const std::string tag = server.ask("GET /s.css", "Accept-Encoding: gzip\r\n").field("etag");
  EXPECT_EQ(server.put("/s.css", "other", "If-None-Match: " + tag + "\r\n").status, 412);
  EXPECT_EQ(server.put("/s.css", "one", "If-Match: " + tag + "\r\n").status, 204);
  EXPECT_EQ(server.put("/s.css", "two", "If-Match: " + tag + "\r\n").status, 412) << "lost update";
  files.write("s.css.gz", "compressed");
  const std::string next = server.ask("GET /s.css", "Accept-Encoding: gzip\r\n").field("etag");
  // Whatever the clock says of the plain file.
  const auto time = std::filesystem::last_write_time(files.path("s.css"));
  files.write("s.css", "six");
  std::filesystem::last_write_time(files.path("s.css"), time);
  EXPECT_EQ(server.ask("DELETE /s.css", "If-Match: " + next + "\r\n").status, 412);
  EXPECT_EQ(files.read("s.css"), "six");
  server.stop();
}

TEST_F(FileServerCareful, DoesNotCallARefusalCompressed) {
  files.write("s.css", "plain");
  files.write("s.css.gz", "compressed");
  file_server server(files.path(""));
  const http_answer refused = server.ask("GET /s.css", "Accept-Encoding: gzip\r\nRange: bytes=100-\r\n");
  EXPECT_EQ(refused.status, 416);
  EXPECT_EQ(refused.field("content-encoding"), "");
  const http_answer part = server.ask("GET /s.css", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n");
  EXPECT_EQ(part.body, "co");
  EXPECT_EQ(part.field("content-encoding"), "gzip");
  server.stop();
}

}  // namespace
}  // namespace slabbuf
