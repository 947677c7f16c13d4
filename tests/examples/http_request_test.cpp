// SPDX-License-Identifier: MIT
// Fields that are lists: over several lines, of tags, of codings.
#include "http/http_request.hpp"

#include "http/http_parser.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf::examples {
namespace {

TEST(HttpRequest, JoinsTheLinesOfAList) {
  const std::string head =
      "GET / HTTP/1.1\r\nHost: localhost\r\nOne:  a, b \r\nIf-Match: \"a\"\r\nX: y\r\nIF-MATCH:  \"b\" \r\n"
      "if-match: \"c\"\r\n\r\n";
  http_request request;
  http_parser parser;
  parser.begin(request, 1000, 100);
  ASSERT_EQ(parser.parse_head(head.data(), 0, head.size()), http_parser::progress::complete);
  std::string room;
  EXPECT_EQ(request.list("one", room), "a, b");
  EXPECT_EQ(room, "") << "nothing to be joined";
  EXPECT_EQ(request.list("if-match", room), "\"a\", \"b\", \"c\"");
  EXPECT_EQ(request.list("none", room), std::nullopt);
}

TEST(HttpRequest, SeparatesTagsAtWhatIsNotEscaped) {
  std::string_view tags = "\"a\\\", W/\"b,\"";
  EXPECT_EQ(next_tag(tags), "\"a\\\"");
  EXPECT_EQ(next_tag(tags), "W/\"b,\"");
  std::string_view strings = "a=\"b\\\", c\", d";
  EXPECT_EQ(next_member(strings), "a=\"b\\\", c\"");
  EXPECT_EQ(next_member(strings), "d");
}

TEST(HttpRequest, WeighsCodingsAsTheRfcSays) {
  for (const auto& [list, accepted] : std::vector<std::pair<std::string_view, bool>>{{"", false},
                                                                                     {"gzip", true},
                                                                                     {"GZIP", true},
                                                                                     {"br, gzip", true},
                                                                                     {"br", false},
                                                                                     {"*", true},
                                                                                     {"*;q=0", false},
                                                                                     {"*, gzip;q=0", false},
                                                                                     {"gzip;q=0, *", false},
                                                                                     {"*;q=0, gzip", true},
                                                                                     {"gzip;Q=0", false},
                                                                                     {"gzip ; q=0.000", false},
                                                                                     {"gzip;q=0.001", true},
                                                                                     {"gzip;x=1;q=0", false},
                                                                                     {"identity;q=0", false}}) {
    EXPECT_EQ(accepts_coding(list, "gzip"), accepted) << list;
  }
}

}  // namespace
}  // namespace slabbuf::examples
