// SPDX-License-Identifier: MIT
// Uploads and removals: whole or not at all, in parts, under conditions, within limits.
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using support::child_process;
using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;
using support::varied_bytes;

class FileServerUpload : public FileServer {
 protected:
  // Names in the directory.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& each : std::filesystem::directory_iterator(files.path(""))) all.push_back(each.path().filename());
    std::sort(all.begin(), all.end());
    return all;
  }
  using list = std::vector<std::string>;

  // Sends the head and a part of the body, then leaves.
  static void send_part_of(const file_server& server, const std::string& head, const std::string& part) {
    http_client client(server.endpoint());
    client.send(head + "\r\n" + part);
    // What was sent is read, and found to be all that will come.
    client.socket().shutdown(asio::ip::tcp::socket::shutdown_send);
    EXPECT_TRUE(client.ends());
  }
};

TEST_F(FileServerUpload, WritesAndReplacesFiles) {
  file_server server(files.path(""), {"--writable"});
  for (const std::size_t size : {0UL, 1UL, 4096UL, 200000UL, 5000000UL}) {
    const std::string name = std::string("/").append(std::to_string(size));
    const http_answer made = server.put(name, varied_bytes(size));
    EXPECT_EQ(made.status, 201) << size;
    const http_answer got = server.ask("GET " + name);
    EXPECT_TRUE(got.body == varied_bytes(size)) << size;
    EXPECT_EQ(got.field("etag"), made.field("etag"));
    EXPECT_EQ(server.put(name, "replaced").status, 204);
    EXPECT_EQ(files.read(std::to_string(size)), "replaced");
  }
  EXPECT_EQ(names(), (list{"0", "1", "200000", "4096", "5000000"}));
  server.stop();
}

TEST_F(FileServerUpload, TakesChunks) {
  file_server server(files.path(""), {"--writable"});
  http_client client = server.connect();
  client.send("PUT /file HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
  client.send("4;x=y\r\nabcd\r\n");
  client.send("3\r\nef");
  client.send("g\r\n0\r\nTrailer: x\r\n\r\nGET /file HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_EQ(client.receive().status, 201);
  EXPECT_EQ(client.receive().body, "abcdefg") << "and the request behind it";
  client.send("PUT /other HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
  EXPECT_EQ(client.receive().status, 400);
  EXPECT_TRUE(client.ends());
  EXPECT_EQ(names(), list{"file"});
  server.stop();
}

TEST_F(FileServerUpload, AsksForTheBodyWhenThatIsExpected) {
  file_server server(files.path(""), {"--writable", "--upload-bytes-max", "100"});
  http_client client = server.connect();
  client.send("PUT /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  client.send("hello");
  EXPECT_EQ(client.receive().status, 201);
  client.send("PUT /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n");
  EXPECT_EQ(client.receive().status, 413) << "without a body";
  server.stop();
}

TEST_F(FileServerUpload, LimitsWhatItTakes) {
  file_server server(files.path(""), {"--writable", "--upload-bytes-max", "1000"});
  EXPECT_EQ(server.put("/fits", varied_bytes(1000)).status, 201);
  EXPECT_EQ(server.put("/large", varied_bytes(1001)).status, 413);
  http_client client = server.connect();
  client.send("PUT /chunked HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + varied_bytes(500) +
              "\r\n1f5\r\n" + varied_bytes(501) + "\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive().status, 413);
  EXPECT_EQ(names(), list{"fits"});
  server.stop();
}

TEST_F(FileServerUpload, SaysWhenThereIsNoRoom) {
  files.write("file", "old");
  // A file that may not grow further is as good as a disk that is full, and needs no disk.
  file_server server(files.path(""), {"--writable"}, child_process::limited{RLIMIT_FSIZE, 100000});
  EXPECT_EQ(server.put("/file", varied_bytes(300000)).status, 507);
  EXPECT_EQ(files.read("file"), "old");
  EXPECT_EQ(server.put("/file", varied_bytes(50000)).status, 204);
  EXPECT_EQ(names(), list{"file"});
  server.stop();
}

TEST_F(FileServerUpload, ChecksTheDigestBeforeAnythingIsReplaced) {
  files.write("file", "old");
  file_server server(files.path(""), {"--writable"});
  const std::string of_abc = "Repr-Digest: sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:\r\n";
  EXPECT_EQ(server.put("/file", "abd", of_abc).status, 400);
  EXPECT_EQ(files.read("file"), "old");
  EXPECT_EQ(server.put("/file", "abc", "Repr-Digest: sha-256=:short:\r\n").status, 400);
  EXPECT_EQ(server.put("/file", "abc", of_abc).status, 204);
  EXPECT_EQ(files.read("file"), "abc");
  server.stop();
}

TEST_F(FileServerUpload, HonoursConditions) {
  file_server server(files.path(""), {"--writable"});
  EXPECT_EQ(server.put("/file", "one", "If-Match: *\r\n").status, 412);
  const std::string tag = server.put("/file", "one", "If-None-Match: *\r\n").field("etag");
  EXPECT_EQ(server.put("/file", "two", "If-None-Match: *\r\n").status, 412);
  EXPECT_EQ(server.put("/file", "two", "If-Match: \"other\"\r\n").status, 412);
  EXPECT_EQ(server.put("/file", "two", "If-Match: " + tag + "\r\n").status, 204);
  EXPECT_EQ(server.put("/file", "three", "If-Match: " + tag + "\r\n").status, 412) << "lost update";
  EXPECT_EQ(server.ask("DELETE /file", "If-Match: " + tag + "\r\n").status, 412);
  EXPECT_EQ(files.read("file"), "two");
  server.stop();
}

TEST_F(FileServerUpload, RefusesPlacesThatAreNone) {
  std::filesystem::create_directory(files.path("dir"));
  std::filesystem::create_symlink("/tmp", files.path("outside"));
  file_server server(files.path(""), {"--writable"});
  EXPECT_EQ(server.put("/", "x").status, 409);
  EXPECT_EQ(server.put("/dir", "x").status, 409);
  EXPECT_EQ(server.put("/dir/", "x").status, 409);
  EXPECT_EQ(server.put("/none/file", "x").status, 409);
  EXPECT_EQ(server.put("/outside/file", "x").status, 403);
  EXPECT_EQ(server.put("/outside", "x").status, 403);
  EXPECT_EQ(server.put("/../file", "x").status, 400);
  EXPECT_EQ(server.put("/.slabbuf-upload-0123456789abcdef", "x").status, 403);
  EXPECT_EQ(server.put("/dir/file", "x").status, 201);
  EXPECT_EQ(server.ask("DELETE /dir").status, 409);
  EXPECT_EQ(server.ask("DELETE /none").status, 404);
  EXPECT_EQ(server.ask("DELETE /none/file").status, 404);
  EXPECT_EQ(server.ask("DELETE /dir/file").status, 204);
  EXPECT_FALSE(std::filesystem::exists(files.path("dir/file")));
  server.stop();
}

TEST_F(FileServerUpload, KeepsNothingOfAnUploadThatIsCutOff) {
  files.write("file", "old");
  file_server server(files.path(""), {"--writable"});
  send_part_of(server, "PUT /file HTTP/1.1\r\nHost: test\r\nContent-Length: 500000\r\n", varied_bytes(300000));
  EXPECT_EQ(files.read("file"), "old");
  EXPECT_EQ(server.put("/next", "x").status, 201);
  server.stop();
  EXPECT_EQ(names(), (list{"file", "next"}));
}

TEST_F(FileServerUpload, ResumesUploads) {
  files.write("file", "old");
  file_server server(files.path(""), {"--writable"});
  const std::string whole = varied_bytes(500000);
  const std::string digest = "Repr-Digest: sha-256=:2XBBdnmPmkUaXsDOBILJ1N7GOPlKPYQtpuRAwk0mImI=:\r\n";
  const std::string query = digest + "Content-Range: bytes */500000\r\n";
  EXPECT_EQ(server.put("/file", "", query).field("upload-offset"), "0");
  send_part_of(server,
               "PUT /file HTTP/1.1\r\nHost: test\r\nContent-Length: 500000\r\n"
               "Content-Range: bytes 0-499999/500000\r\n" +
                   digest,
               whole.substr(0, 300000));
  const http_answer at = server.put("/file", "", query);
  EXPECT_EQ(at.status, 202);
  EXPECT_EQ(at.field("upload-offset"), "300000");
  EXPECT_EQ(files.read("file"), "old");
  const http_answer wrong = server.put("/file", "x", digest + "Content-Range: bytes 7-7/500000\r\n");
  EXPECT_EQ(wrong.status, 409);
  EXPECT_EQ(wrong.field("upload-offset"), "300000");
  const http_answer more =
      server.put("/file", whole.substr(300000, 100000), digest + "Content-Range: bytes 300000-399999/500000\r\n");
  EXPECT_EQ(more.status, 202);
  EXPECT_EQ(more.field("upload-offset"), "400000");
  EXPECT_EQ(server.put("/file", whole.substr(400000), digest + "Content-Range: bytes 400000-499999/500000\r\n").status,
            204);
  EXPECT_TRUE(files.read("file") == whole);
  EXPECT_EQ(server.put("/file", "", query).field("upload-offset"), "0") << "nothing is left of it";
  const http_answer nowhere = server.put("/no/file", "x", "Content-Range: bytes 0-0/1\r\n");
  EXPECT_EQ(nowhere.status, 409);
  EXPECT_EQ(nowhere.field("upload-offset"), "") << "there is nowhere to go on";
  EXPECT_EQ(server.put("/file", "x", digest + "Content-Range: bytes 0-1/5\r\n").status, 400);
  EXPECT_EQ(server.put("/file", "x", "Content-Range: nonsense\r\n").status, 400);
  EXPECT_EQ(names(), list{"file"});
  server.stop();
}

TEST_F(FileServerUpload, LeavesTheOldFileWhenItIsKilled) {
  files.write("file", "old");
  {
    file_server server(files.path(""), {"--writable"});
    http_client client = server.connect();
    client.send("PUT /file HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 500000\r\n\r\n");
    EXPECT_EQ(client.receive().status, 100);
    client.send(varied_bytes(300000));
    EXPECT_EQ(names().size(), 2U) << "the file, and what has come of the new one";
    server.child().signal(SIGKILL);
    EXPECT_EQ(server.child().wait(), -SIGKILL);
  }
  EXPECT_EQ(files.read("file"), "old");
  EXPECT_EQ(names().size(), 2U);
  std::filesystem::create_directory(files.path("dir"));
  files.write("dir/.slabbuf-upload-0123456789abcdef", "left by somebody");
  files.write(".slabbuf-upload-of-mine", "has another kind of name");
  file_server again(files.path(""), {"--writable"});
  EXPECT_EQ(names(), (list{".slabbuf-upload-of-mine", "dir", "file"}));
  EXPECT_FALSE(std::filesystem::exists(files.path("dir/.slabbuf-upload-0123456789abcdef")));
  again.stop();
}

}  // namespace
}  // namespace slabbuf
