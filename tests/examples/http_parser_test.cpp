// SPDX-License-Identifier: MIT
// The heads of requests, parsed where they lie: wherever that is, whatever is behind them.
#include "http/http_parser.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>

namespace slabbuf::examples {
namespace {

using progress = http_parser::progress;

constexpr std::size_t head_bytes_max = 1000;
constexpr std::size_t target_bytes_max = 100;

// One head that is parsed, `step` bytes at a time.
struct parsed {
  explicit parsed(const std::string& text, std::size_t from = 0, std::size_t step = 100'000) {
    parser.begin(request, head_bytes_max, target_bytes_max);
    const char* const head = text.data() + from;
    const std::size_t size = text.size() - from;
    for (std::size_t at = 0; at < size && what == progress::more; at += step)
      what = parser.parse_head(head, at, std::min(size, at + step));
  }

  http_request request;
  http_parser parser;
  progress what = progress::more;
};

TEST(HttpParser, FindsEveryTextOfAHeadFarBehindTheStartOfItsBlock) {
  const std::string decoy = "GET /decoy HTTP/1.1\r\nHost: decoy\r\n\r\n";
  for (const std::size_t before : {0U, 1U, 65'500U, 65'535U, 65'536U, 70'000U, 200'000U}) {
    std::string block = decoy + std::string(before, '.');
    const std::size_t from = block.size();
    block += "DELETE /nosuch HTTP/1.1\r\nHost: test\r\nA: b\r\n\r\n";
    const std::size_t length = block.size() - from;
    block += decoy;
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, block.size()}) {
      const parsed one(block, from, step);
      ASSERT_EQ(one.what, progress::complete) << before;
      EXPECT_EQ(one.request.method(), http_method::remove);
      EXPECT_EQ(one.request.target(), "/nosuch");
      EXPECT_EQ(one.request.field("host"), "test");
      EXPECT_EQ(one.request.field("a"), "b");
      EXPECT_EQ(one.parser.consumed(), length);
    }
  }
}

TEST(HttpParser, RefusesAHeadThatIsTooLongHoweverItComes) {
  const std::string begin = "GET / HTTP/1.1\r\nHost: test\r\nA: ";
  const std::string end = "\r\n\r\n";
  const auto head = [&](std::size_t bytes) {
    return begin + std::string(bytes - begin.size() - end.size(), 'a') + end + "GET / HTTP/1.1\r\n";
  };
  for (const std::size_t step : {1U, 7U, 999U, 1000U, 200'000U}) {
    EXPECT_EQ(parsed(head(head_bytes_max), 0, step).what, progress::complete) << step;
    for (const std::size_t bytes :
         {head_bytes_max + 1, std::size_t{65'536}, std::size_t{70'000}, std::size_t{131'072}}) {
      const parsed one(head(bytes), 0, step);
      EXPECT_EQ(one.what, progress::refused) << bytes;
      EXPECT_EQ(one.parser.status(), 431) << bytes;
    }
  }
}

// Where another parser in front sees one request, this one must not see two.
TEST(HttpParser, TakesNoLineThatEndsWithALineFeedAlone) {
  const std::string good = "\r\nGET / HTTP/1.1\r\nHost: test\r\nA: b\r\n\r\n";
  EXPECT_EQ(parsed(good).what, progress::complete);
  for (std::size_t at = good.find('\r'); at != std::string::npos; at = good.find('\r', at + 1)) {
    std::string bad = good;
    bad.erase(at, 1);
    for (const std::size_t step : {1U, 1000U}) {
      const parsed one(bad, 0, step);
      EXPECT_EQ(one.what, progress::refused) << at << " of " << step;
      EXPECT_EQ(one.parser.status(), 400);
    }
  }
  for (const char* const before : {"\r", "\n", "\r\r\n"}) {
    EXPECT_EQ(parsed(before + good).what, progress::refused) << ::testing::PrintToString(before);
  }
}

// The body of a request in chunks, `step` bytes at a time: its bytes, or why not.
std::string body_of(const std::string& chunks, std::size_t step) {
  const std::string head = "PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  parsed one(head);
  EXPECT_EQ(one.what, progress::complete);
  std::string block = chunks;
  std::string body;
  progress what = progress::more;
  for (std::size_t at = 0; at < block.size() && what == progress::more; at += step) {
    char* const piece = block.data() + at;
    what = one.parser.decode_body({piece, std::min(step, block.size() - at)}, piece);
    body.append(piece, one.parser.decoded());
  }
  if (what == progress::complete) return body;
  return what == progress::more ? "more" : std::string(one.parser.why());
}

TEST(HttpParser, HoldsChunksAndTrailersToTheSameRules) {
  for (const std::size_t step : {1U, 2U, 3U, 1000U}) {
    SCOPED_TRACE(step);
    EXPECT_EQ(body_of("3;x=y\r\n\n\n:\r\n2\r\n \t\r\n0\r\nA: b\r\nC:\r\n\r\n", step), "\n\n: \t") << "data is data";
    EXPECT_EQ(body_of("3\r\nabc\r\n0\r\n\n", step), "a line does not end with CR and LF");
    EXPECT_EQ(body_of("3\r\nabc\r\n0\r\nA: b\n\r\n", step), "Invalid header value char") << "llhttp's own words";
    EXPECT_EQ(body_of("3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n", step), "a header field is folded");
    EXPECT_EQ(body_of("3\r\nabc\r\n0\r\n: u\r\n\r\n", step), "a header field has no name");
  }
}

}  // namespace
}  // namespace slabbuf::examples
