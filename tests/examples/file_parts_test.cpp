// SPDX-License-Identifier: MIT
// The parts of file_server that need no connection: ranges, conditions, dates, paths, the way into the root, the
// budget.
#include "common/memory_limit.hpp"
#include "files/byte_ranges.hpp"
#include "files/file_handler.hpp"
#include "files/mime_types.hpp"
#include "files/open_file.hpp"
#include "files/open_files.hpp"
#include "files/preconditions.hpp"
#include "files/request_path.hpp"
#include "files/root_directory.hpp"
#include "http/http_date.hpp"
#include "http/http_server.hpp"
#include "support/http_client.hpp"
#include "support/temporary_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf::examples {
namespace {

using kind = byte_ranges::kind;

TEST(ByteRanges, FollowTheRfc) {
  struct one {
    const char* field;
    std::uint64_t size;
    kind what;
    std::vector<byte_range> ranges;
  };
  const std::vector<one> table{
      {"bytes=0-499", 10000, kind::some, {{0, 500}}},  // RFC 9110, 14.1.2
      {"bytes=500-999", 10000, kind::some, {{500, 500}}},
      {"bytes=-500", 10000, kind::some, {{9500, 500}}},
      {"bytes=9500-", 10000, kind::some, {{9500, 500}}},
      {"bytes=0-0,-1", 10000, kind::some, {{0, 1}, {9999, 1}}},
      {"bytes= 0-0 , , -1", 10000, kind::some, {{0, 1}, {9999, 1}}},
      {"BYTES=0-0", 10000, kind::some, {{0, 1}}},
      {"bytes=0-18446744073709551615", 10000, kind::some, {{0, 10000}}},
      {"bytes=10000-", 10000, kind::unsatisfiable, {}},
      {"bytes=0-", 0, kind::unsatisfiable, {}},
      {"bytes=-5", 0, kind::unsatisfiable, {}},
      {"bytes=0-18446744073709551616", 10000, kind::some, {{0, 10000}}},
      {"bytes=5-4", 10000, kind::all, {}},
      {"bytes=", 10000, kind::all, {}},
      {"bytes=,", 10000, kind::all, {}},
      {"bytes=-", 10000, kind::all, {}},
      {"bytes=--5", 10000, kind::all, {}},
      {"bytes=+1-5", 10000, kind::all, {}},
      {"bytes 0-5", 10000, kind::all, {}},
      {"pages=1-2", 10000, kind::all, {}},
      {"", 10000, kind::all, {}},
      {"bytes=0-9999,0-0", 10000, kind::all, {}},  // more than there is
  };
  for (const one& each : table) {
    const byte_ranges found = parse_ranges(each.field, each.size);
    EXPECT_EQ(found.what, each.what) << each.field;
    EXPECT_EQ(found.ranges, each.ranges) << each.field;
  }
  std::string many = "bytes=0-0";
  for (std::size_t index = 1; index < byte_ranges_max; ++index) many += ",1-1";
  EXPECT_EQ(parse_ranges(many, 10000).what, kind::some);
  EXPECT_EQ(parse_ranges(many + ",2-2", 10000).what, kind::all);
}

TEST(ContentRange, IsAPartOrAQuestion) {
  const auto part = parse_content_range("bytes 5-9/10");
  ASSERT_TRUE(part && part->part);
  EXPECT_EQ(*part->part, (byte_range{5, 5}));
  EXPECT_EQ(part->total, 10U);
  const auto question = parse_content_range("bytes */10");
  ASSERT_TRUE(question);
  EXPECT_FALSE(question->part);
  for (const char* const wrong : {"", "bytes", "bytes 5-9", "bytes 5-9/*", "bytes 9-5/10", "bytes 5-10/10",
                                  "bytes=5-9/10", "bytes -9/10", "lines 5-9/10", "bytes 5-9/10x"}) {
    EXPECT_FALSE(parse_content_range(wrong)) << wrong;
  }
}

TEST(HttpDate, IsReadInAllThreeFormats) {
  const std::time_t example = 784111777;  // RFC 9110, 5.6.7
  EXPECT_EQ(text_of(format_http_date(example)), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), example);
  EXPECT_EQ(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), example);
  EXPECT_EQ(parse_http_date("Sun Nov  6 08:49:37 1994"), example);
  for (const std::time_t time : {std::time_t{0}, std::time_t{951782400}, std::time_t{4102444800}})
    EXPECT_EQ(parse_http_date(text_of(format_http_date(time))), time);
  for (const char* const wrong :
       {"", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nix 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun,"}) {
    EXPECT_FALSE(parse_http_date(wrong)) << wrong;
  }
}

TEST(EntityTags, MatchAsTheRfcSays) {
  // RFC 9110, 8.8.3.2: the table.
  EXPECT_FALSE(tag_matches("W/\"1\"", "\"1\"", false));
  EXPECT_TRUE(tag_matches("W/\"1\"", "\"1\"", true));
  EXPECT_TRUE(tag_matches("\"1\"", "\"1\"", false));
  EXPECT_FALSE(tag_matches("\"2\"", "\"1\"", true));
  EXPECT_TRUE(tag_matches("\"a,b\", \"1\"", "\"1\"", false));
  EXPECT_TRUE(tag_matches(" * ", "\"1\"", false));
  EXPECT_FALSE(tag_matches("*", "", false)) << "nothing is there";
  EXPECT_FALSE(tag_matches("", "\"1\"", true));
}

TEST(RequestPath, IsDecodedOnce) {
  struct one {
    const char* target;
    path_fault fault;
    const char* path;
  };
  const std::vector<one> table{
      {"/", path_fault::none, ""},
      {"/a", path_fault::none, "a"},
      {"/a/b/", path_fault::none, "a/b/"},
      {"//a///b", path_fault::none, "a/b"},
      {"/./a/.", path_fault::none, "a/"},
      {"/a%20b%25", path_fault::none, "a b%"},
      {"/%252e", path_fault::none, "%2e"},
      {"/a?b/../c", path_fault::none, "a"},
      {"http://host/a", path_fault::none, "a"},
      {"http://host", path_fault::none, ""},
      {"http://host?x", path_fault::none, ""},
      {"/...", path_fault::none, "..."},
      {"/..", path_fault::forbidden, nullptr},
      {"/a/%2E.", path_fault::forbidden, nullptr},
      {"/a%2fb", path_fault::forbidden, nullptr},
      {"/a%00", path_fault::forbidden, nullptr},
      {"/a%", path_fault::bad_escape, nullptr},
      {"/a%4", path_fault::bad_escape, nullptr},
      {"/a%g0", path_fault::bad_escape, nullptr},
      {"*", path_fault::bad_target, nullptr},
      {"", path_fault::bad_target, nullptr},
  };
  std::string path;
  for (const one& each : table) {
    EXPECT_EQ(decode_path(each.target, path), each.fault) << each.target;
    if (each.path != nullptr) {
      EXPECT_EQ(path, each.path) << each.target;
    }
  }
  std::string every;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte != '/' && byte != '.') every.push_back(static_cast<char>(byte));
  }
  EXPECT_EQ(decode_path("/" + encode_path(every), path), path_fault::none);
  EXPECT_EQ(path, every);
}

class Root : public ::testing::TestWithParam<root_directory::walk> {
 protected:
  Root() {
    std::filesystem::create_directories(files.path("root/a/b"));
    files.write("secret", "secret");
    files.write("root/a/b/file", "text");
    std::filesystem::create_symlink("../secret", files.path("root/out"));
    std::filesystem::create_symlink("a/b", files.path("root/in"));
  }

  int error_of(const char* path, int flags = O_RDONLY) {
    const root_directory root(files.path("root"), GetParam());
    return root.open(path, flags) ? 0 : errno;
  }

  support::temporary_files files;
};

TEST_P(Root, IsNotLeft) {
  const bool by_kernel = GetParam() == root_directory::walk::by_kernel;
  EXPECT_EQ(error_of(""), 0);
  EXPECT_EQ(error_of("a/b/file"), 0);
  EXPECT_EQ(error_of("a/b/"), 0);
  EXPECT_EQ(error_of("none"), ENOENT);
  EXPECT_EQ(error_of("a/b/file/x"), ENOTDIR);
  EXPECT_EQ(error_of("../secret"), EXDEV);
  EXPECT_EQ(error_of("a/../../secret"), EXDEV);
  EXPECT_EQ(error_of("out"), by_kernel ? EXDEV : ELOOP);
  EXPECT_EQ(error_of("in/file"), by_kernel ? 0 : ENOTDIR) << "without the kernel's help no link is followed";
  EXPECT_EQ(error_of((std::string(300, 'x') + "/y").c_str()), ENAMETOOLONG);
}

INSTANTIATE_TEST_SUITE_P(ByKernelAndByHand, Root,
                         ::testing::Values(root_directory::walk::by_kernel, root_directory::walk::by_hand));

TEST(OpenFiles, AreThoseThatTheNamesMean) {
  const support::temporary_files files;
  files.write("file", "one");
  const root_directory root(files.path(""));
  open_files cache(root);
  EXPECT_EQ(cache.find("file"), nullptr);
  cache.put("file", open_to_read(root, "file", false));
  const auto first = cache.find("file");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(cache.find("file"), first);
  files.write("other", "two");
  std::filesystem::rename(files.path("other"), files.path("file"));
  EXPECT_EQ(cache.find("file"), nullptr) << "another file has the name now";
  cache.put("file", open_to_read(root, "file", false));
  EXPECT_NE(cache.find("file"), nullptr);
  cache.sweep();
  EXPECT_NE(cache.find("file"), nullptr) << "it was used since the sweep before";
  cache.sweep();
  cache.sweep();
  EXPECT_EQ(cache.find("file"), nullptr);
  EXPECT_NE(entity_tag(first->identity()), entity_tag(open_to_read(root, "file", false)->identity()));
}

// A root that is walked by hand never knows whether a path is in memory: every name takes the way of a cold one.
TEST(FileHandler, FindsACompressedFormThatIsNotInMemory) {
  const support::temporary_files files;
  files.write("s.css", "plain");
  files.write("s.css.gz", "compressed");
  files.write("other.css", "other");
  const root_directory root(files.path(""), root_directory::walk::by_hand);
  concurrent_pool buffers;
  blocking_threads threads(1);
  file_digests digests(threads);
  upload_store uploads(root);
  const upload_limits limits;
  http_options options;
  options.plain.emplace(asio::ip::address_v4::loopback(), std::uint16_t{0});
  http_server server(options, buffers, threads, [&](asio::io_context& context) {
    return std::make_unique<file_handler>(context, file_shared{root, uploads, digests, limits});
  });
  server.start();
  std::thread serving([&] { server.run(); });
  {
    support::http_client client(*server.plain_endpoint());
    EXPECT_EQ(client.ask("GET /s.css", "Accept-Encoding: gzip\r\n").body, "compressed");
    EXPECT_EQ(client.ask("GET /s.css", "Accept-Encoding: gzip\r\n").body, "compressed") << "that is open now";
    EXPECT_EQ(client.ask("GET /s.css").body, "plain");
    EXPECT_EQ(client.ask("GET /other.css", "Accept-Encoding: gzip\r\n").body, "other");
    EXPECT_EQ(client.ask("GET /none.css", "Accept-Encoding: gzip\r\n").status, 404);
  }
  server.drain();
  serving.join();
}

TEST(MediaTypes, AreFoundByTheEndOfTheName) {
  EXPECT_EQ(media_type_of("a/b.HTML").name, "text/html; charset=utf-8");
  EXPECT_EQ(media_type_of("b.tar.gz").name, "application/gzip");
  EXPECT_EQ(media_type_of("a.css/b").name, "application/octet-stream");
  EXPECT_EQ(media_type_of("b.").name, "application/octet-stream");
  EXPECT_EQ(media_type_of("").name, "application/octet-stream");
  EXPECT_TRUE(media_type_of("a.png").compressed);
  EXPECT_FALSE(media_type_of("a.svg").compressed);
}

TEST(MemoryLimit, IsTheLeastOfAllGroups) {
  const support::temporary_files files;
  const std::string root = files.path("");
  const std::size_t machine = memory_limit(root);
  EXPECT_GT(machine, std::size_t{1} << 20) << "without groups, what the machine has";
  std::filesystem::create_directories(root + "proc/self");
  std::filesystem::create_directories(root + "sys/fs/cgroup/a/b");
  std::filesystem::create_directories(root + "sys/fs/cgroup/memory/c");
  files.write("proc/self/cgroup", "0::/a/b\n");
  files.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(memory_limit(root), machine);
  files.write("sys/fs/cgroup/a/memory.max", "1000000\n");
  EXPECT_EQ(memory_limit(root), 1000000U) << "of a group above";
  files.write("proc/self/cgroup", "5:cpu,memory:/c\n1:name=systemd:/x\n");
  files.write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "2000000\n");
  EXPECT_EQ(memory_limit(root), 2000000U);
  files.write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(memory_limit(root), machine) << "version 1 has no other word for no limit";
  EXPECT_EQ(automatic_budget(std::size_t{1} << 30), std::size_t{256} << 20);
  EXPECT_EQ(automatic_budget(1000000), std::size_t{16} << 20);
  EXPECT_EQ(automatic_budget(std::size_t{1} << 40), std::size_t{1} << 30);
}

}  // namespace
}  // namespace slabbuf::examples
