// SPDX-License-Identifier: MIT
// What file_client is made of: URLs, ranges, what it shows.
#include "files/file_client_partial.hpp"
#include "files/file_client_progress.hpp"
#include "files/file_client_ranges.hpp"
#include "files/file_client_transfer.hpp"
#include "http/digest.hpp"
#include "http/escape.hpp"
#include "http/url.hpp"

#include "support/temporary_files.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

TEST(HttpUrl, ReadsWhatItIsMadeOf) {
  const http_url all = parse_url("HTTPS://Example.ORG:8443/a/b%20c?d=e#f");
  EXPECT_TRUE(all.tls);
  EXPECT_EQ(all.host, "example.org");
  EXPECT_EQ(all.port, 8443);
  EXPECT_EQ(all.target, "/a/b%20c?d=e");
  EXPECT_EQ(format_url(all), "https://example.org:8443/a/b%20c?d=e");
  const http_url least = parse_url("http://h");
  EXPECT_EQ(least.port, 80);
  EXPECT_EQ(least.target, "/");
  EXPECT_EQ(host_field(least), "h");
  EXPECT_EQ(parse_url("http://h?q").target, "/?q");
  EXPECT_EQ(parse_url("https://h").port, 443);
  const http_url v6 = parse_url("http://[::1]:8080/");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(host_field(v6), "[::1]:8080");
}

TEST(HttpUrl, RefusesWhatItIsNot) {
  for (const char* const text : {"", "h", "http:/h", "file:///x", "http://", "http:///x", "http://:80/", "http://h:/",
                                 "http://h:0/", "http://h:65536/", "http://h:1x/", "http://[::1", "http://[::1]x/",
                                 "http://u@h/", "http://h/\r\nX: y", "http://h/a b", "http://h/\x80", "http://h/<"}) {
    EXPECT_THROW(parse_url(text), std::invalid_argument) << text;
  }
  EXPECT_NO_THROW(parse_url("http://h/" + std::string(url_bytes_max - 9, 'x')));
  EXPECT_THROW(parse_url("http://h/" + std::string(url_bytes_max - 8, 'x')), std::invalid_argument);
}

TEST(HttpUrl, ResolvesReferences) {
  const http_url base = parse_url("https://h:1/a/b?c");
  const std::vector<std::pair<std::string, std::string>> references{
      {"http://other/x", "http://other/x"},
      {"//other/x", "https://other/x"},
      {"/x?y", "https://h:1/x?y"},
      {"x", "https://h:1/a/x"},
      {"?y", "https://h:1/a/b?y"},
      {"#f", "https://h:1/a/b?c"},
      {"", "https://h:1/a/b?c"},
      {"x/y:z", "https://h:1/a/x/y:z"},
  };
  for (const auto& [reference, expected] : references) EXPECT_EQ(format_url(resolve_url(base, reference)), expected);
  EXPECT_THROW(resolve_url(base, "mailto:x"), std::invalid_argument);
}

TEST(HttpUrl, KnowsTheNameOfAFile) {
  const std::vector<std::pair<std::string, std::string>> names{
      {"/a/b.txt", "b.txt"},
      {"/a%20b?c/d", "a b"},
      {"/", ""},
      {"/a/", ""},
      {"/..", ""},
      {"/%2e%2E", ""},
      {"/a%2Fb", ""},
      {"/a%00b", ""},
      {"/100%", "100%"},
      {"/%zz", "%zz"},
      {"/" + std::string(300, 'x'), ""},
  };
  for (const auto& [target, expected] : names)
    EXPECT_EQ(file_name_of(parse_url("http://h" + target)), expected) << target;
}

TEST(HttpUrl, IsLeftOnlyForWhatIsAsSafe) {
  response_head head;
  head.status = 302;
  head.fields = {{"location", "http://h/x"}};
  EXPECT_EQ(format_url(redirect_target(parse_url("http://h/"), head)), "http://h/x");
  EXPECT_THROW(redirect_target(parse_url("https://h/"), head), std::invalid_argument);
  head.fields = {{"location", "https://h/x"}};
  EXPECT_TRUE(redirect_target(parse_url("http://h/"), head).tls);
}

TEST(Digest, IsReadAsItIsWritten) {
  sha256_hash hash;
  hash.update(std::as_bytes(std::span("abc", 3)));
  const sha256 abc = hash.finish();
  // FIPS 180-2, B.1
  EXPECT_EQ(to_hex(abc), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string field = digest_field(abc);
  EXPECT_EQ(field, "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
  EXPECT_EQ(parse_digest_field(field), abc);
  EXPECT_EQ(parse_digest_field("sha-512=:AAAA:, " + field), abc);
  hash.update(std::as_bytes(std::span("abc", 3)));
  EXPECT_EQ(hash.finish(), abc);
  EXPECT_EQ(parse_digest_field("sha-256=:" + std::string(43, 'A') + "=:;q=1 ,\t" + field + "; a=\"x,\\\"y\";b "), abc)
      << "the last one counts, whatever its parameters";
  for (const char* const none : {"", " ", "sha-512=:AAAA:", "x-sha-256=:AAAA:", "sha-512=:AAAA:;sha-256=:AAAA:"}) {
    EXPECT_FALSE(parse_digest_field(none)) << none;
  }
  const std::string at_end = field + ",";
  const std::string behind = field + " x";
  const std::string in_text = "md5=\"" + field + "\"";
  for (const char* const wrong :
       {"sha-256", "sha-256=:AAAA:", "Sha-256=:AAAA:", "sha-256=5", "sha-256=::", ",",
        "sha-512=:AAAA:,,unixsum=:AAAA:", "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa!=:", at_end.c_str(), behind.c_str(), in_text.c_str()}) {
    EXPECT_THROW(parse_digest_field(wrong), std::invalid_argument) << wrong;
  }
}

TEST(EscapeHtml, LeavesNoMarkupAndNoBrokenText) {
  EXPECT_EQ(escape_html("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
  EXPECT_EQ(escape_html("na\xC3\xAFve \xE6\x97\xA5 \xF0\x9F\x98\x80"), "na\xC3\xAFve \xE6\x97\xA5 \xF0\x9F\x98\x80");
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(escape_html("\x01\x7F\n"), bad + bad + bad);
  EXPECT_EQ(escape_html("\xFFx\xC3"), bad + "x" + bad);
  EXPECT_EQ(escape_html("\xC0\xAF"), bad + bad);            // overlong
  EXPECT_EQ(escape_html("\xED\xA0\x80"), bad + bad + bad);  // half of a surrogate pair
  EXPECT_EQ(escape_html("\xE6\x97"), bad + bad);
}

TEST(Printable, LeavesATerminalAlone) {
  EXPECT_EQ(printable("na\xC3\xAFve \xE6\x97\xA5 \xF0\x9F\x98\x80"), "na\xC3\xAFve \xE6\x97\xA5 \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("\x1B[2J\n\x7F"), "?[2J??");
  EXPECT_EQ(printable("\x9B"
                      "2J\xC2\x9B"
                      "2J"),
            "?2J?2J")
      << "CSI in one byte, and as a character";
  EXPECT_EQ(printable("a\xE2\x80\xAE"
                      "b\xE2\x81\xA6"
                      "c\xD8\x9C"),
            "a?b?c?")
      << "marks of direction";
  EXPECT_EQ(printable("\xC0\xAF\xED\xA0\x80\xE6\x97"), "???????") << "no UTF-8";
}

TEST(PartialFile, FollowsNoLinkToWriteItsNote) {
  const support::temporary_files files;
  files.write("precious", "precious");
  std::filesystem::create_symlink(files.path("precious"), files.path(".target.part.json.new"));
  const partial_file part(files.path("target"));
  part.save({"http://h/", "\"one\"", 5, {{0, 5}}});
  EXPECT_EQ(files.read("precious"), "precious");
  EXPECT_TRUE(part.note("http://h/"));
  EXPECT_FALSE(std::filesystem::is_symlink(files.path(".target.part.json")));
}

TEST(DivideRanges, GivesEachConnectionAShareAndLosesNoByte) {
  constexpr std::uint64_t mib = 1 << 20;
  EXPECT_TRUE(divide({}, 4).empty());
  EXPECT_TRUE(divide({{5, 5}}, 4).empty());
  EXPECT_EQ(divide({{0, 10}}, 4), (std::vector<byte_range>{{0, 10}}));
  EXPECT_EQ(divide({{0, 4 * mib}}, 4),
            (std::vector<byte_range>{{0, mib}, {mib, 2 * mib}, {2 * mib, 3 * mib}, {3 * mib, 4 * mib}}));
  EXPECT_EQ(divide({{0, mib}, {9 * mib, 19 * mib}}, 3),
            (std::vector<byte_range>{{0, mib}, {9 * mib, 14 * mib}, {14 * mib, 19 * mib}}));
  for (std::size_t connections = 1; connections <= 64; ++connections) {
    const std::vector<byte_range> shares = divide({{3, 100 * mib + 1}}, connections);
    EXPECT_EQ(shares.size(), connections);
    EXPECT_EQ(total_bytes(shares), 100 * mib - 2);
    std::uint64_t next = 3;
    for (const byte_range& each : shares) {
      EXPECT_EQ(each.first, next);
      EXPECT_GE(each.size(), range_bytes_min);
      next = each.end;
    }
  }
}

TEST(RetryPolicy, WaitsLongerEachTimeAndNotForEver) {
  retry_policy policy(9);
  std::chrono::milliseconds before = 0ms;
  for (int attempt = 0; attempt < 9; ++attempt) {
    const auto pause = policy.next();
    ASSERT_TRUE(pause);
    EXPECT_GE(*pause, before);
    EXPECT_LE(*pause, 5s);
    before = *pause;
  }
  EXPECT_FALSE(policy.next());
  policy.progressed();
  EXPECT_EQ(policy.next(), 100ms);
  EXPECT_FALSE(retry_policy(0).next());
}

TEST(Progress, FitsTheTerminalWhateverItsWidth) {
  const transfer_progress half{"a file with a rather long name.tar.gz", 50 << 20, 100 << 20, 10 << 20};
  EXPECT_EQ(progress_line(half),
            "a file with a rather long name.tar.gz: 50.0 MiB of 100.0 MiB (50 %), 10.0 MiB/s, 5 s left");
  for (std::size_t width = 1; width < 200; ++width) {
    std::size_t columns = 0;
    for (const char each : progress_bar(half, width)) columns += (static_cast<unsigned char>(each) & 0xC0U) != 0x80;
    EXPECT_LE(columns, width);
  }
  const std::string bar = progress_bar(half, 120);
  EXPECT_NE(bar.find(" 50 %"), std::string::npos) << bar;
  EXPECT_NE(bar.find("5 s left"), std::string::npos) << bar;
  const std::size_t open = bar.find('[');
  const std::size_t close = bar.find(']');
  ASSERT_NE(close, std::string::npos);
  EXPECT_EQ(std::count(bar.begin() + static_cast<long>(open), bar.begin() + static_cast<long>(close), '='),
            static_cast<long>((close - open - 1) / 2));
}

TEST(Progress, SaysWhatIsKnownAndNoMore) {
  EXPECT_EQ(progress_line({"f", 1000, std::nullopt, 0}), "f: 1000 B, 0 B/s");
  EXPECT_EQ(progress_line({"f", 0, 0, 0}), "f: 0 B of 0 B (0 %), 0 B/s");
  EXPECT_EQ(progress_line({"f", 10, 10, 5}), "f: 10 B of 10 B (100 %), 5 B/s");
  EXPECT_EQ(progress_bar({"f", 1000, std::nullopt, 0}, 100).find('['), std::string::npos);
  EXPECT_EQ(format_duration(59s), "59 s");
  EXPECT_EQ(format_duration(125s), "2 min 05 s");
  EXPECT_EQ(format_duration(3720s), "1 h 02 min");
  EXPECT_EQ(printable("a\x1b[31mb\n\x7f\xC3\xAF"), "a?[31mb??\xC3\xAF");
}

TEST(TransferRate, FollowsWhatItIsToldAndSurvivesStartingOver) {
  transfer_rate rate;
  transfer_rate::clock::time_point now{};
  rate.note(0, now);
  for (int second = 1; second <= 30; ++second) rate.note(static_cast<std::uint64_t>(second) * 1000, now += 1s);
  EXPECT_NEAR(rate.bytes_per_second(), 1000, 1);
  for (int second = 1; second <= 30; ++second) rate.note(30'000 + static_cast<std::uint64_t>(second) * 5000, now += 1s);
  EXPECT_NEAR(rate.bytes_per_second(), 5000, 10);
  rate.note(10, now += 1s);
  EXPECT_NEAR(rate.bytes_per_second(), 5000, 10);
  rate.note(5010, now += 1s);
  EXPECT_NEAR(rate.bytes_per_second(), 5000, 10);
  rate.note(6000, now);  // twice at the same moment
  EXPECT_NEAR(rate.bytes_per_second(), 5000, 10);
}

}  // namespace
}  // namespace slabbuf::examples
