// SPDX-License-Identifier: MIT
// What file_server does not do, whoever asks: work for those who have gone, lie about what it sends, disturb files that
// are none, lose what it replaces.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <list>
#include <string>
#include <vector>

#include "examples/file_server_fixture.hpp"
#include "support/sanitizers.hpp"

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

TEST_F(FileServerCareful, MixesNoPartsOfTwoUploads) {
  file_server server(files.path(""), {"--writable"});
  // Of "aaabbb" and of "cccddd".
  const std::string of_a = "Repr-Digest: sha-256=:LOEJ6dD6+CCyQ04WYpeTTmF3tlq5lR28PiBMrUaJs5w=:\r\n";
  const std::string of_c = "Repr-Digest: sha-256=:/LDeYOX+vE3qlsTcAVM2LSifGqW9B5fbLc1/I3CCBbs=:\r\n";
  EXPECT_EQ(server.put("/file", "aaa", of_a + "Content-Range: bytes 0-2/6\r\n").status, 202);
  EXPECT_EQ(server.put("/file", "", of_c + "Content-Range: bytes */6\r\n").field("upload-offset"), "0");
  EXPECT_EQ(server.put("/file", "ddd", of_c + "Content-Range: bytes 3-5/6\r\n").status, 409);
  EXPECT_EQ(server.put("/file", "ccc", of_c + "Content-Range: bytes 0-2/6\r\n").status, 202);
  // Of no digest: one of its own for each address, as curl -C sends it.
  EXPECT_EQ(server.put("/file", "zzz", "Content-Range: bytes 3-5/6\r\n").status, 409);
  EXPECT_EQ(server.put("/file", "www", "Content-Range: bytes 0-2/6\r\n").status, 202);
  EXPECT_EQ(server.put("/file", "zzz", "Content-Range: bytes 3-5/6\r\n").status, 201);
  EXPECT_EQ(files.read("file"), "wwwzzz");
  EXPECT_EQ(server.put("/file", "bbb", of_a + "Content-Range: bytes 3-5/6\r\n").status, 204);
  EXPECT_EQ(files.read("file"), "aaabbb");
  EXPECT_EQ(server.put("/file", "ddd", of_c + "Content-Range: bytes 3-5/6\r\n").status, 204);
  EXPECT_EQ(files.read("file"), "cccddd");
  EXPECT_EQ(server.put("/file", "all", "Content-Range: bytes 0-2/3\r\n").status, 204) << "that is no part";
  server.stop();
}

TEST_F(FileServerCareful, DoesNotOpenWhatIsNoFile) {
  ASSERT_EQ(::mkfifo(files.path("fifo").c_str(), 0666), 0);
  file_server server(files.path(""));
  const int watcher = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  ASSERT_GE(::inotify_add_watch(watcher, files.path("fifo").c_str(), IN_OPEN), 0);
  EXPECT_EQ(server.ask("GET /fifo").status, 403);
  alignas(::inotify_event) std::array<char, 4096> events{};
  EXPECT_EQ(::read(watcher, events.data(), events.size()), -1) << "somebody who waits for a reader has met one";
  const int reader = ::open(files.path("fifo").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  EXPECT_GT(::read(watcher, events.data(), events.size()), 0) << "the watch does not work";
  ::close(reader);
  ::close(watcher);
  server.stop();
}

TEST_F(FileServerCareful, KnowsNothingOfTheFuture) {
  files.write("file", "text");
  std::filesystem::last_write_time(files.path("file"),
                                   std::filesystem::file_time_type::clock::now() + std::chrono::hours(24 * 366));
  file_server server(files.path(""));
  const http_answer answer = server.ask("GET /file");
  EXPECT_EQ(answer.body, "text");
  // Both of the same second, or of the next one.
  EXPECT_EQ(answer.field("last-modified").substr(0, 22), answer.field("date").substr(0, 22));
  server.stop();
}

TEST_F(FileServerCareful, KeepsTheModeOfWhatItReplaces) {
  files.write("file", "old");
  ASSERT_EQ(::chmod(files.path("file").c_str(), 04751), 0);
  file_server server(files.path(""), {"--writable"});
  EXPECT_EQ(server.put("/file", "new").status, 204);
  EXPECT_EQ(files.read("file"), "new");
  struct ::stat status {};
  ASSERT_EQ(::stat(files.path("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0751U) << "but not whose rights it has";
  server.stop();
}

TEST_F(FileServerCareful, KeepsNothingThatIsCoded) {
  file_server server(files.path(""), {"--writable"});
  const http_answer refused = server.put("/file", "x", "Content-Encoding: gzip\r\n");
  EXPECT_EQ(refused.status, 415);
  EXPECT_EQ(refused.field("accept-encoding"), "identity");
  EXPECT_EQ(server.put("/file", "x", "Content-Encoding: identity\r\nContent-Encoding: br\r\n").status, 415);
  EXPECT_FALSE(std::filesystem::exists(files.path("file")));
  EXPECT_EQ(server.put("/file", "x", "Content-Encoding: Identity\r\n").status, 201);
  server.stop();
}

TEST_F(FileServerCareful, TakesNoDigestThatIsNone) {
  file_server server(files.path(""), {"--writable"});
  for (const char* const digest : {"sha-256", "sha-256=5", "SHA-256=:AAAA:", "sha-256=:AAAA:", "md5=\"sha-256=:x:\""})
    EXPECT_EQ(server.put("/file", "x", std::string("Repr-Digest: ") + digest + "\r\n").status, 400) << digest;
  EXPECT_EQ(server.put("/file", "x", "Repr-Digest: sha-512=:AAAA:\r\n").status, 201) << "another algorithm";
  server.stop();
}

TEST_F(FileServerCareful, LetsNoFilePassForAPage) {
  files.write("file", "<script>");
  for (const bool writable : {false, true}) {
    SCOPED_TRACE(writable);
    file_server server(files.path(""), writable ? std::vector<std::string>{"--writable"} : std::vector<std::string>{});
    const http_answer file = server.ask("GET /file");
    EXPECT_EQ(file.field("x-content-type-options"), "nosniff");
    EXPECT_EQ(file.field("content-security-policy"), writable ? "sandbox" : "");
    EXPECT_EQ(server.ask("GET /").field("content-security-policy").find("sandbox"), std::string::npos);
    server.stop();
  }
}

TEST_F(FileServerCareful, OutlivesAHangUpWithoutACertificate) {
  file_server server(files.path(""));
  server.child().signal(SIGHUP);
  EXPECT_EQ(server.ask("HEAD /").status, 200);
  EXPECT_NE(server.stop().find("SIGHUP: there is no certificate"), std::string::npos);
}

TEST_F(FileServerCareful, DoesNotServeWhereItCannotSaySo) {
  support::child_process child(support::without_output(
      {FILE_SERVER, "--root", files.path(""), "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--user", "root"}));
  EXPECT_EQ(child.wait(), 1);
  EXPECT_NE(child.standard_error().find("file_server: standard output cannot be written: No space left on device\n"),
            std::string::npos);
}

// While it lives, a process can open nothing more.
class no_descriptor_left {
 public:
  explicit no_descriptor_left(::pid_t process) : process_(process) {
    EXPECT_EQ(::prlimit(process_, RLIMIT_NOFILE, nullptr, &before_), 0);
    const ::rlimit none{0, before_.rlim_max};
    EXPECT_EQ(::prlimit(process_, RLIMIT_NOFILE, &none, nullptr), 0);
  }
  no_descriptor_left(const no_descriptor_left&) = delete;
  no_descriptor_left& operator=(const no_descriptor_left&) = delete;
  ~no_descriptor_left() { EXPECT_EQ(::prlimit(process_, RLIMIT_NOFILE, &before_, nullptr), 0); }

 private:
  const ::pid_t process_;
  ::rlimit before_{};
};

// What cannot be looked for may be there.
TEST_F(FileServerCareful, ReplacesNothingWhereItCannotLook) {
#if defined(SLABBUF_ADDRESS_SANITIZER)
  GTEST_SKIP() << "UndefinedBehaviorSanitizer opens a pipe to look at a vptr, and takes the failure for a finding";
#endif
  file_server server(files.path(""), {"--writable"});
  http_client late = server.connect();
  late.send(
      "PUT /file HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nIf-None-Match: *\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_EQ(late.receive().status, 100) << "there was none";
  ASSERT_EQ(server.put("/file", "first").status, 201);
  {
    const no_descriptor_left none(server.child().id());
    late.send("late");
    EXPECT_EQ(late.receive().status, 503);
    EXPECT_EQ(late.ask("DELETE /file").status, 503);
  }
  EXPECT_EQ(files.read("file"), "first");
  server.stop();
}

// Its last byte has come, and to make it the file takes no descriptor.
TEST_F(FileServerCareful, KeepsAnUploadThoughNoDescriptorIsLeft) {
#if defined(SLABBUF_ADDRESS_SANITIZER)
  GTEST_SKIP() << "UndefinedBehaviorSanitizer opens a pipe to look at a vptr, and takes the failure for a finding";
#endif
  file_server server(files.path(""), {"--writable"});
  for (const std::string fields : {"", "If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"}) {
    files.write("file", "before");
    http_client late = server.connect();
    late.send("PUT /file HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n" + fields + "Expect: 100-continue\r\n\r\n");
    ASSERT_EQ(late.receive().status, 100);
    const no_descriptor_left none(server.child().id());
    late.send("late");
    EXPECT_EQ(late.receive().status, 204);
    EXPECT_EQ(files.read("file"), "late");
  }
  server.stop();
}

TEST_F(FileServerCareful, TakesNoFieldTwiceThatMayComeOnce) {
  files.write("file", "text");
  file_server server(files.path(""), {"--writable"});
  EXPECT_EQ(server.ask("GET /file", "Range: bytes=0-0\r\nRange: bytes=1-1\r\n").body, "text");
  EXPECT_EQ(server.put("/file", "x", "Content-Range: bytes 0-0/1\r\nContent-Range: bytes 0-0/2\r\n").status, 400);
  EXPECT_EQ(server.put("/file", "x", "Expect: 100-continue\r\nExpect: wonders\r\n").status, 417);
  EXPECT_EQ(server.put("/file", "x", "Origin: http://test\r\nOrigin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(files.read("file"), "text");
  server.stop();
}

TEST_F(FileServerCareful, SaysNothingOfAFileBesideARefusal) {
  files.write("file", "text");
  file_server server(files.path(""));
  const http_answer refused = server.ask("GET /file", "Range: bytes=9-\r\nWant-Repr-Digest: sha-256=1\r\n");
  EXPECT_EQ(refused.status, 416);
  EXPECT_EQ(refused.field("content-range"), "bytes */4");
  EXPECT_EQ(refused.field("repr-digest"), "") << "it would be that of the file, not of this text";
  EXPECT_EQ(refused.field("last-modified"), "");
  server.stop();
}

TEST_F(FileServerCareful, ListsWhateverDateAFileHas) {
  files.write("file", "text");
  const std::array<::timespec, 2> far{{{0, UTIME_NOW}, {99'999'999'999'999, 0}}};
  ASSERT_EQ(::utimensat(AT_FDCWD, files.path("file").c_str(), far.data(), 0), 0);
  struct ::stat status {};
  ASSERT_EQ(::stat(files.path("file").c_str(), &status), 0);
  file_server server(files.path(""));
  EXPECT_EQ(server.ask("GET /", "Accept: application/json\r\n").status, 200);
  EXPECT_EQ(server.ask("GET /").status, 200);
  EXPECT_EQ(server.ask("GET /file").body, "text");
  server.stop();
}

TEST_F(FileServerCareful, KeepsTheQueryOfWhatItRedirects) {
  std::filesystem::create_directory(files.path("directory"));
  file_server server(files.path(""));
  EXPECT_EQ(server.ask("GET /directory?a=b").field("location"), "/directory/?a=b");
  EXPECT_EQ(server.ask("GET http://test/directory").field("location"), "/directory/");
  server.stop();
}

// Names and text are of the budget: what has no room is refused, and nothing is kept of it.
TEST_F(FileServerCareful, ListsWithinItsBudget) {
  const std::string long_name(200, 'n');
  for (int index = 0; index < 2000; ++index) files.write(long_name + std::to_string(index), "");
  file_server small(files.path(""), {"--budget", "256KiB"});
  EXPECT_EQ(small.ask("GET /").status, 503);
  EXPECT_EQ(small.ask("GET /" + long_name + "7").status, 200);
  small.stop();
  file_server large(files.path(""), {"--budget", "8MiB"});
  const http_answer answer = large.ask("GET /", "Accept: application/json\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find(long_name + "1999"), std::string::npos);
  large.stop();
}

}  // namespace
}  // namespace slabbuf
