// SPDX-License-Identifier: MIT
// A file_server that is killed before each call by which an upload takes a file's place, one whose calls fail, one on a
// kernel without openat2(2), one that was started as root.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
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

class FileServerFailure : public FileServer {
 protected:
  // support/failing_calls.cpp says what the variables mean.
  file_server started(std::vector<std::string> environment) const {
    environment.insert(environment.begin(), "LD_PRELOAD=" FAILING_CALLS);
    return file_server(files.path(""), {"--writable"}, std::nullopt, environment);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& each : std::filesystem::directory_iterator(files.path(""))) all.push_back(each.path().filename());
    std::sort(all.begin(), all.end());
    return all;
  }
  using list = std::vector<std::string>;

  // The status; 0 when the connection ended instead.
  static int put(const file_server& server, const std::string& body) {
    http_client client(server.endpoint());
    asio::error_code gone;
    const std::string request =
        "PUT /file HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    asio::write(client.socket(), asio::buffer(request), gone);
    return client.receive().status;
  }

  const std::string before = "as it was";
  const std::string after = varied_bytes(1000);  // comes with its head, and takes one write
};

TEST_F(FileServerFailure, LeavesTheOldFileOrTheNewOneBeforeWhicheverCallItIsKilled) {
  int kept = 0;
  int replaced = 0;
  for (int call = 1;; ++call) {
    SCOPED_TRACE(call);
    files.write("file", before);
    file_server server = started({"FAILING_CALL=" + std::to_string(call)});
    const int status = put(server, after);
    const std::string left = files.read("file");
    ASSERT_TRUE(left == before || left == after) << left.size() << " bytes";
    if (status != 0) {
      // There are no more calls than that.
      EXPECT_EQ(status, 204);
      EXPECT_TRUE(left == after);
      server.stop();
      break;
    }
    EXPECT_EQ(server.child().wait(), -SIGKILL);
    ++(left == before ? kept : replaced);
    file_server next(files.path(""), {"--writable"});
    EXPECT_EQ(names(), list{"file"}) << "whatever was left of the upload is gone";
    EXPECT_TRUE(next.ask("GET /file").body == left);
    next.stop();
  }
  EXPECT_EQ(kept, 3) << "the write, fsync, the rename";
  EXPECT_EQ(replaced, 1) << "the directory's fsync";
}

TEST_F(FileServerFailure, SaysThatADiskIsFullOrBrokenAndKeepsTheOldFile) {
  for (const auto& [error, expected] : {std::pair(ENOSPC, 507), std::pair(EDQUOT, 507), std::pair(EIO, 500)}) {
    int failed = 0;
    for (int call = 1;; ++call) {
      SCOPED_TRACE(::testing::Message() << "errno " << error << ", call " << call);
      files.write("file", before);
      file_server server = started({"FAILING_CALL=" + std::to_string(call), "FAILING_ERROR=" + std::to_string(error)});
      const int status = put(server, after);
      if (status == 204) {
        server.stop();
        break;
      }
      ++failed;
      // After the rename it is in place, whatever the directory's fsync says.
      EXPECT_EQ(status, call < 4 ? expected : 500);
      EXPECT_TRUE(files.read("file") == (call < 4 ? before : after));
      EXPECT_EQ(names(), list{"file"});
      EXPECT_EQ(server.put("/file", "next").status, 204) << "and goes on";
      EXPECT_EQ(files.read("file"), "next");
      server.stop();
    }
    EXPECT_EQ(failed, 4) << "the write, fsync, the rename, the directory's fsync";
  }
}

TEST_F(FileServerFailure, KeepsItsRootToItselfWithoutOpenat2) {
  std::filesystem::create_directories(files.path("root/inner"));
  files.write("secret", "secret");
  files.write("root/inner/file", "text");
  std::filesystem::create_symlink("../secret", files.path("root/link"));
  std::filesystem::create_symlink("..", files.path("root/up"));
  std::filesystem::create_symlink("/dev/zero", files.path("root/device"));
  ::mkfifo(files.path("root/fifo").c_str(), 0666);
  file_server server(files.path("root"), {"--writable"}, std::nullopt,
                     {"LD_PRELOAD=" FAILING_CALLS, "MISSING_SYSCALL=" + std::to_string(SYS_openat2)});
  EXPECT_EQ(server.ask("GET /inner/file").body, "text");
  EXPECT_EQ(server.ask("GET /inner/").status, 200);
  for (const char* const path : {"/link", "/up/secret", "/device", "/fifo"})
    EXPECT_GE(server.ask(std::string("GET ") + path).status, 403) << path;
  EXPECT_EQ(server.ask("GET /%2e%2e/secret").status, 400);
  EXPECT_NE(server.put("/up/made", "x").status, 201);
  EXPECT_FALSE(std::filesystem::exists(files.path("made")));
  EXPECT_EQ(server.put("/inner/made", "made").status, 201);
  EXPECT_EQ(files.read("root/inner/made"), "made");
  EXPECT_NE(server.stop().find("openat2"), std::string::npos) << "and says so";
}

// The numbers of a line of /proc/PID/status.
std::string status_line(::pid_t process, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) return line.substr(name.size() + 1);
  }
  return "not there";
}

TEST_F(FileServerFailure, StartedAsRootItBecomesSomebodyWhoMayDoLess) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ::chmod(files.path("").c_str(), 0755);
  files.write("open", "text");
  files.write("closed", "secret");
  ::chmod(files.path("closed").c_str(), 0600);
  file_server server(files.path(""), {"--writable", "--user", "nobody"});
  for (const char* const name : {"Uid", "Gid"})
    EXPECT_EQ(status_line(server.child().id(), name), "\t65534\t65534\t65534\t65534") << name;
  for (const char* const name : {"CapPrm", "CapEff"})
    EXPECT_EQ(status_line(server.child().id(), name), "\t0000000000000000") << name;
  EXPECT_EQ(status_line(server.child().id(), "Groups").find_first_of("0123456789"), std::string::npos);
  EXPECT_EQ(server.ask("GET /open").body, "text");
  EXPECT_EQ(server.ask("GET /closed").status, 403);
  EXPECT_EQ(server.put("/made", "x").status, 403) << "the directory is root's";
  EXPECT_NE(server.stop().find("cannot be written"), std::string::npos) << "as was said before";
}

}  // namespace
}  // namespace slabbuf
