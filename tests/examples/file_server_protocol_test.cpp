// SPDX-License-Identifier: MIT
// What file_server makes of connections: paths that lead out, requests together or in parts, limits, slow clients, its
// end. What single requests are answered: file_server_requests_test.cpp.
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "examples/file_server_fixture.hpp"
#include "support/sanitizers.hpp"

namespace slabbuf {
namespace {

using support::child_process;
using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;
using support::varied_bytes;

TEST_F(FileServer, RefusesEveryWayOutOfItsRoot) {
  std::filesystem::create_directory(files.path("root"));
  std::filesystem::create_directory(files.path("root/inner"));
  files.write("secret", "secret");
  files.write("root/file", "text");
  ::mkfifo(files.path("root/fifo").c_str(), 0666);
  std::filesystem::create_symlink("../secret", files.path("root/link"));
  std::filesystem::create_symlink(files.path("secret"), files.path("root/absolute"));
  std::filesystem::create_symlink("..", files.path("root/up"));
  std::filesystem::create_symlink("/dev/zero", files.path("root/device"));
  std::filesystem::create_symlink("loop", files.path("root/loop"));
  std::filesystem::create_symlink("../file", files.path("root/inner/good"));
  file_server server(files.path("root"));
  for (const char* const path :
       {"/../secret", "/%2e%2e/secret", "/.%2E/secret", "/inner/../../secret", "/..%2fsecret", "/%2e%2e%2fsecret",
        "/inner/..%2f..%2fsecret", "/..", "/inner/..", "/file%00", "/%00", "/%", "/%4", "/%zz", "/a%2Fb"}) {
    EXPECT_EQ(server.ask(std::string("GET ") + path).status, 400) << path;
  }
  for (const char* const path : {"/..%5csecret", "/%252e%252e/secret", "/%c0%ae%c0%ae/secret", "/....//secret", "/loop",
                                 "/file/", "/file/x", "/none"}) {
    EXPECT_EQ(server.ask(std::string("GET ") + path).status, 404) << path;
  }
  for (const char* const path : {"/link", "/absolute", "/up/secret", "/device", "/fifo"})
    EXPECT_EQ(server.ask(std::string("GET ") + path).status, 403) << path;
  for (const char* const path : {"/file", "//file", "/./file", "/inner/good", "/%66ile", "/file?x=/../secret"})
    EXPECT_EQ(server.ask(std::string("GET ") + path).body, "text") << path;
  server.stop();
}

TEST_F(FileServer, AnswersRequestsThatComeTogether) {
  files.write("a", "aaa");
  files.write("b", varied_bytes(200000));
  file_server server(files.path(""));
  http_client client = server.connect();
  std::string many;
  constexpr int count = 300;
  for (int index = 0; index < count; ++index)
    many.append("GET /").append(index % 100 == 99 ? "b" : "a").append(" HTTP/1.1\r\nHost: test\r\n\r\n");
  client.send(many);
  for (int index = 0; index < count; ++index) {
    const http_answer answer = client.receive();
    ASSERT_EQ(answer.status, 200) << index;
    EXPECT_EQ(answer.body.size(), index % 100 == 99 ? 200000U : 3U) << index;
  }
  server.stop();
}

TEST_F(FileServer, TakesARequestByteByByte) {
  files.write("a", "aaa");
  file_server server(files.path(""));
  http_client client = server.connect();
  for (const char each : std::string("GET /a HTTP/1.1\r\nHost: test\r\nX-A: b\r\n\r\n")) client.send({&each, 1});
  EXPECT_EQ(client.receive().body, "aaa");
  server.stop();
}

TEST_F(FileServer, KeepsOrEndsConnectionsAsAsked) {
  files.write("a", "aaa");
  file_server server(files.path(""), {"--requests-max", "3"});
  http_client client = server.connect();
  EXPECT_EQ(client.ask("GET /a").field("connection"), "");
  EXPECT_EQ(client.ask("GET /a", "Connection: close\r\n").field("connection"), "close");
  EXPECT_TRUE(client.ends());
  http_client old = server.connect();
  old.send("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.receive().field("connection"), "close");
  EXPECT_TRUE(old.ends());
  http_client old_alive = server.connect();
  old_alive.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(old_alive.receive().field("connection"), "keep-alive");
  http_client three = server.connect();
  EXPECT_EQ(three.ask("GET /a").field("connection"), "");
  EXPECT_EQ(three.ask("GET /a").field("connection"), "");
  EXPECT_EQ(three.ask("GET /a").field("connection"), "close");
  EXPECT_TRUE(three.ends());
  server.stop();
}

TEST_F(FileServer, EndsSlowAndIdleConnections) {
  files.write("a", "aaa");
  file_server server(files.path(""),
                     {"--header-timeout", "1", "--body-timeout", "1", "--idle-timeout", "1", "--writable"});
  http_client idle = server.connect();
  http_client slow = server.connect();
  http_client upload = server.connect();
  slow.send("GET /a HTT");
  upload.send("PUT /b HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12");
  EXPECT_EQ(slow.receive().status, 408);
  EXPECT_TRUE(slow.ends());
  EXPECT_EQ(upload.receive().status, 408);
  EXPECT_TRUE(upload.ends());
  EXPECT_TRUE(idle.ends());
  EXPECT_FALSE(std::filesystem::exists(files.path("b")));
  server.stop();
}

TEST_F(FileServer, RefusesMoreConnectionsThanItMayHave) {
  files.write("a", "aaa");
  file_server server(files.path(""), {"--connections-max", "2"});
  http_client first = server.connect();
  http_client second = server.connect();
  EXPECT_EQ(first.ask("GET /a").status, 200);
  EXPECT_EQ(second.ask("GET /a").status, 200);
  http_client third = server.connect();
  const http_answer refused = third.receive();
  EXPECT_EQ(refused.status, 503) << "without having asked for anything";
  EXPECT_EQ(refused.field("retry-after"), "1");
  EXPECT_TRUE(third.ends());
  EXPECT_EQ(first.ask("GET /a").status, 200);
  server.stop();
}

TEST_F(FileServer, AnswersWhatHasBegunWhenItEnds) {
  files.write("a", varied_bytes(20 << 20));
  file_server server(files.path(""));
  http_client idle = server.connect();
  http_client busy = server.connect();
  busy.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
  // It is being answered by now.
  char byte = 0;
  ::recv(busy.socket().native_handle(), &byte, 1, MSG_PEEK);
  server.child().signal(SIGTERM);
  const http_answer answer = busy.receive();
  EXPECT_TRUE(answer.body == varied_bytes(20 << 20));
  EXPECT_TRUE(idle.ends());
  EXPECT_EQ(server.child().wait(), 0);
}

TEST_F(FileServer, RefusesWhatItCannotUse) {
  const std::string root = files.path("");
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"--root"},
      {"--root", root, "--bogus"},
      {"--root", root, "--http", "nowhere"},
      {"--root", root, "--https", "127.0.0.1:0"},
      {"--root", root, "--cert", "x"},
      {"--root", root, "--budget", "1KiB"},
      {"--root", root, "--budget", "automatic"},
      {"--root", root, "--upload-bytes-max", "-1"},
  };
  const auto run = [](std::vector<std::string> options, int status, const std::string& part = "") {
    options.insert(options.begin(), FILE_SERVER);
    child_process child(options);
    EXPECT_EQ(child.wait(), status) << ::testing::PrintToString(options);
    const std::string message = child.standard_error();
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
    EXPECT_EQ(message.find("file_server: "), 0U) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(child.read_line(), "") << "nothing on standard output";
  };
  for (const std::vector<std::string>& options : wrong) run(options, 2);
  run({"--rooot", root}, 2, "file_server: --rooot is no option, did you mean --root?");
  run({"--root", root + "none", "--http", "127.0.0.1:0"}, 1);
  run({"--root", root, "--http", "192.0.2.1:80"}, 1, "cannot listen on --http 192.0.2.1:80: ");
  run({"--root", root, "--http", "127.0.0.1:0", "--admin", "192.0.2.1:80"}, 1, "on --admin 192.0.2.1:80: ");
}

TEST_F(FileServer, TakesTheBudgetFromTheSystem) {
  files.write("a", "aaa");
  file_server server(files.path(""), {"--budget", "auto"});
  EXPECT_EQ(server.ask("GET /a").body, "aaa");
  server.stop();
}

TEST_F(FileServer, KeepsDescriptorsForFilesWhereThereAreFew) {
#if defined(SLABBUF_ADDRESS_SANITIZER)
  GTEST_SKIP() << "UndefinedBehaviorSanitizer opens a pipe to look at a vptr, and takes the failure for a finding";
#endif
  files.write("a", "aaa");
  constexpr std::uint64_t descriptors_own = 24;
  constexpr std::uint64_t descriptors_max = descriptors_own + 80;
  file_server server(files.path(""), {"--threads", "1"}, child_process::limited{RLIMIT_NOFILE, descriptors_max});
  std::deque<http_client> idle;
  for (std::uint64_t count = 0; count < 40; ++count) {
    idle.emplace_back(server.endpoint());
    EXPECT_EQ(idle.back().ask("GET /a").status, 200);
  }
  EXPECT_EQ(server.connect().receive().status, 503);
  EXPECT_EQ(idle.front().ask("GET /").status, 200) << "a directory takes more than one";
  EXPECT_EQ(idle.back().ask("GET /a").body, "aaa");
  idle.clear();
  server.stop();
  EXPECT_NE(server.child().standard_error().find("at most 40 connections, not 10000"), std::string::npos);
}

TEST_F(FileServer, TakesTargetsOfItsOwnSchemeAlone) {
  files.write("a", "aaa");
  file_server server(files.path(""), {"--admin", "127.0.0.1:0"});
  for (const auto& [target, status] : std::vector<std::pair<std::string, int>>{{"http://test/a", 200},
                                                                               {"HTTP://test:80/a", 200},
                                                                               {"https://test/a", 421},
                                                                               {"ftp://test/a", 421},
                                                                               {"test://test/a", 421},
                                                                               {"http:///a", 400},
                                                                               {"http://user@test/a", 400},
                                                                               {"http://test:x/a", 400},
                                                                               {"http://other.example/a", 421}}) {
    EXPECT_EQ(server.ask("GET " + target).status, status) << target;
  }
  http_client admin({asio::ip::address_v4::loopback(), support::read_port(server.child(), "admin")});
  EXPECT_EQ(admin.ask("GET http://localhost/healthz").status, 200);
  server.stop();
}

}  // namespace
}  // namespace slabbuf
