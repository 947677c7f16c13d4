// SPDX-License-Identifier: MIT
// What file_server answers to GET and HEAD: files, parts of them, tags, digests, directories. Conditions:
// file_server_requests_test.cpp.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;
using support::varied_bytes;

TEST_F(FileServer, ServesFilesOfEverySize) {
  // Around the blocks, and around the size from which the system sends.
  const std::vector<std::size_t> sizes{0,     1,      1023,   4096,   16383,   65535,  65536,
                                       65537, 131071, 131072, 262144, 1000000, 5000000};
  for (const std::size_t size : sizes) files.write(std::to_string(size), varied_bytes(size));
  file_server server(files.path(""));
  http_client client = server.connect();
  for (const std::size_t size : sizes) {
    const http_answer answer = client.ask("GET /" + std::to_string(size));
    EXPECT_EQ(answer.status, 200) << size;
    EXPECT_EQ(answer.body.size(), size);
    EXPECT_TRUE(answer.body == varied_bytes(size)) << size;
    EXPECT_EQ(answer.field("content-type"), "application/octet-stream");
    EXPECT_EQ(answer.field("accept-ranges"), "bytes");
    EXPECT_EQ(answer.field("date").size(), 29U);
    const http_answer head = client.ask("HEAD /" + std::to_string(size));
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.field("content-length"), std::to_string(size));
    EXPECT_EQ(head.field("etag"), answer.field("etag"));
  }
  server.stop();
}

TEST_F(FileServer, ServesPartsOfAFileLargerThanFourGibibytes) {
  const std::uint64_t size = (std::uint64_t{5} << 30) + 7;
  files.write("large", "");
  std::filesystem::resize_file(files.path("large"), size);
  const std::uint64_t at = (std::uint64_t{4} << 30) + 12345;
  {
    const int file = ::open(files.path("large").c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    EXPECT_EQ(::pwrite(file, "needle", 6, static_cast<::off_t>(at)), 6);
    ::close(file);
  }
  file_server server(files.path(""));
  EXPECT_EQ(server.ask("HEAD /large").field("content-length"), std::to_string(size));
  const http_answer part =
      server.ask("GET /large", "Range: bytes=" + std::to_string(at) + "-" + std::to_string(at + 5) + "\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "needle");
  const http_answer tail = server.ask("GET /large", "Range: bytes=-200000\r\n");
  EXPECT_EQ(tail.status, 206);
  EXPECT_TRUE(tail.body == std::string(200000, '\0'));
  server.stop();
}

TEST_F(FileServer, SaysWhatAFileIs) {
  for (const char* const name : {"page.html", "script.JS", "picture.png", "data.tar.gz", "none", "odd.name"})
    files.write(name, "x");
  file_server server(files.path(""));
  http_client client = server.connect();
  EXPECT_EQ(client.ask("HEAD /page.html").field("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(client.ask("HEAD /script.JS").field("content-type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(client.ask("HEAD /picture.png").field("content-type"), "image/png");
  EXPECT_EQ(client.ask("HEAD /data.tar.gz").field("content-type"), "application/gzip");
  EXPECT_EQ(client.ask("HEAD /none").field("content-type"), "application/octet-stream");
  EXPECT_EQ(client.ask("HEAD /odd.name").field("content-type"), "application/octet-stream");
  server.stop();
}

TEST_F(FileServer, AnswersRanges) {
  const std::string text = varied_bytes(300000);
  files.write("file", text);
  file_server server(files.path(""));
  http_client client = server.connect();
  struct one {
    std::string range;
    int status;
    std::size_t offset, count;
  };
  const std::vector<one> table{
      {"bytes=0-0", 206, 0, 1},
      {"bytes=10-19", 206, 10, 10},
      {"bytes=299999-", 206, 299999, 1},
      {"bytes=-1", 206, 299999, 1},
      {"bytes=-999999", 206, 0, 300000},
      {"bytes=0-999999", 206, 0, 300000},
      {"bytes=100000-299999", 206, 100000, 200000},
      {"bytes=300000-", 416, 0, 0},
      {"bytes=-0", 416, 0, 0},
      {"bytes=2-1", 200, 0, 300000},
      {"bytes=a-b", 200, 0, 300000},
      {"lines=1-2", 200, 0, 300000},
      {"bytes=0-,0-", 200, 0, 300000},  // more than there is: all of it, once
  };
  for (const one& each : table) {
    const http_answer answer = client.ask("GET /file", "Range: " + each.range + "\r\n");
    EXPECT_EQ(answer.status, each.status) << each.range;
    if (each.status == 416) {
      EXPECT_EQ(answer.field("content-range"), "bytes */300000");
      continue;
    }
    EXPECT_TRUE(answer.body == text.substr(each.offset, each.count)) << each.range;
    if (each.status != 206) continue;
    EXPECT_EQ(answer.field("content-range"),
              "bytes " + std::to_string(each.offset) + "-" + std::to_string(each.offset + each.count - 1) + "/300000");
  }
  // HEAD knows no ranges.
  EXPECT_EQ(client.ask("HEAD /file", "Range: bytes=0-0\r\n").status, 200);
  server.stop();
}

TEST_F(FileServer, AnswersSeveralRangesInOne) {
  const std::string text = varied_bytes(500000);
  files.write("file", text);
  file_server server(files.path(""));
  http_client client = server.connect();
  const http_answer answer = client.ask("GET /file", "Range: bytes=1-3, 100000-299999,-2, 999999-\r\n");
  EXPECT_EQ(answer.status, 206);
  const std::string type = answer.field("content-type");
  const std::string prefix = "multipart/byteranges; boundary=";
  ASSERT_EQ(type.compare(0, prefix.size(), prefix), 0) << type;
  const std::string boundary = type.substr(prefix.size());
  const auto part = [&](const std::string& range, const std::string& bytes) {
    return "--" + boundary + "\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes " + range +
           "/500000\r\n\r\n" + bytes + "\r\n";
  };
  EXPECT_TRUE(answer.body == part("1-3", text.substr(1, 3)) + part("100000-299999", text.substr(100000, 200000)) +
                                 part("499998-499999", text.substr(499998)) + "--" + boundary + "--\r\n");
  server.stop();
}

TEST_F(FileServer, GivesAnotherTagToWhateverHasChanged) {
  files.write("file", "some text");
  file_server server(files.path(""));
  http_client client = server.connect();
  const std::string tag = client.ask("GET /file").field("etag");
  const http_answer same = client.ask("GET /file", "If-None-Match: " + tag + "\r\n");
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.field("etag"), tag);
  // Even if it is as large and says it is as old.
  const auto old = std::filesystem::last_write_time(files.path("file"));
  files.write("file", "new  text");
  std::filesystem::last_write_time(files.path("file"), old);
  EXPECT_EQ(client.ask("GET /file", "If-None-Match: " + tag + "\r\n").body, "new  text");
  server.stop();
}

TEST_F(FileServer, ServesWhatTheNameMeansNow) {
  files.write("file", "one");
  file_server server(files.path(""));
  http_client client = server.connect();
  EXPECT_EQ(client.ask("GET /file").body, "one");
  files.write("next", "two");
  std::filesystem::rename(files.path("next"), files.path("file"));
  EXPECT_EQ(client.ask("GET /file").body, "two");
  files.remove("file");
  EXPECT_EQ(client.ask("GET /file").status, 404);
  std::filesystem::create_directory(files.path("file"));
  EXPECT_EQ(client.ask("GET /file").status, 301);
  server.stop();
}

TEST_F(FileServer, GivesTheDigestThatIsWanted) {
  files.write("empty", "");
  files.write("abc", "abc");
  file_server server(files.path(""));
  http_client client = server.connect();
  const std::string want = "Want-Repr-Digest: sha-512=3, sha-256=10\r\n";
  // FIPS 180-4's own example, and nothing.
  const std::string of_abc = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
  EXPECT_EQ(client.ask("GET /abc", want).field("repr-digest"), of_abc);
  EXPECT_EQ(client.ask("HEAD /abc", want).field("repr-digest"), of_abc);
  const http_answer part = client.ask("GET /abc", want + "Range: bytes=1-1\r\n");
  EXPECT_EQ(part.body, "b");
  EXPECT_EQ(part.field("repr-digest"), of_abc) << "of the whole";
  EXPECT_EQ(client.ask("GET /empty", want).field("repr-digest"),
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
  EXPECT_EQ(client.ask("GET /abc", "Want-Repr-Digest: sha-256=0\r\n").field("repr-digest"), "");
  EXPECT_EQ(client.ask("GET /abc").field("repr-digest"), "");
  server.stop();
}

TEST_F(FileServer, PrefersACompressedFileWhereThatIsAccepted) {
  files.write("page.html", "<p>plain");
  files.write("page.html.gz", "not really compressed");
  files.write("only.html", "<p>alone");
  files.write("picture.png", "x");
  files.write("picture.png.gz", "y");
  file_server server(files.path(""));
  http_client client = server.connect();
  const http_answer zipped = client.ask("GET /page.html", "Accept-Encoding: br, gzip\r\n");
  EXPECT_EQ(zipped.body, "not really compressed");
  EXPECT_EQ(zipped.field("content-encoding"), "gzip");
  EXPECT_EQ(zipped.field("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(zipped.field("vary"), "Accept-Encoding");
  const http_answer plain = client.ask("GET /page.html");
  EXPECT_EQ(plain.body, "<p>plain");
  EXPECT_EQ(plain.field("content-encoding"), "");
  EXPECT_EQ(plain.field("vary"), "Accept-Encoding");
  EXPECT_NE(plain.field("etag"), zipped.field("etag"));
  EXPECT_EQ(client.ask("GET /page.html", "Accept-Encoding: gzip;q=0\r\n").body, "<p>plain");
  EXPECT_EQ(client.ask("GET /only.html", "Accept-Encoding: gzip\r\n").body, "<p>alone");
  EXPECT_EQ(client.ask("GET /picture.png", "Accept-Encoding: gzip\r\n").body, "x");
  EXPECT_EQ(client.ask("GET /page.html.gz").field("content-encoding"), "");
  server.stop();
}

TEST_F(FileServer, ListsDirectories) {
  std::filesystem::create_directory(files.path("b"));
  files.write("a \"quoted\" & <name>", "123");
  ::mkfifo(files.path("fifo").c_str(), 0666);
  std::filesystem::create_symlink("/etc/passwd", files.path("outside"));
  file_server server(files.path(""));
  http_client client = server.connect();
  const http_answer json = client.ask("GET /", "Accept: application/json\r\n");
  EXPECT_EQ(json.status, 200);
  EXPECT_EQ(json.field("content-type"), "application/json");
  EXPECT_NE(json.body.find("\"name\":\"b\",\"type\":\"directory\""), std::string::npos) << json.body;
  EXPECT_NE(json.body.find("\"name\":\"a \\\"quoted\\\" & <name>\",\"type\":\"file\",\"bytes\":3"), std::string::npos)
      << json.body;
  EXPECT_EQ(json.body.find("fifo"), std::string::npos);
  EXPECT_EQ(json.body.find("outside"), std::string::npos);
  const http_answer page = client.ask("GET /");
  EXPECT_EQ(page.field("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.field("content-security-policy"), "");
  EXPECT_EQ(page.body.find("<name>"), std::string::npos) << "names are escaped";
  const http_answer redirect = client.ask("GET /b");
  EXPECT_EQ(redirect.status, 301);
  EXPECT_EQ(redirect.field("location"), "/b/");
  EXPECT_EQ(client.ask("HEAD /b/").status, 200);
  server.stop();
}

TEST_F(FileServer, ClosesWhenAFileShrinksWhileItIsSent) {
  files.write("file", varied_bytes(64 << 20));
  file_server server(files.path(""));
  http_client client = server.connect();
  client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
  // The answer has begun, and does not fit into the sockets.
  char byte = 0;
  asio::read(client.socket(), asio::buffer(&byte, 1));
  std::filesystem::resize_file(files.path("file"), 1000);
  std::string rest;
  asio::error_code ec;
  asio::read(client.socket(), asio::dynamic_buffer(rest), ec);
  EXPECT_TRUE(ec);
  EXPECT_LT(rest.size(), std::size_t{64} << 20);
  EXPECT_NE(server.stop().find("became shorter"), std::string::npos);
}

}  // namespace
}  // namespace slabbuf
