// SPDX-License-Identifier: MIT
// Fields that are lists: over several lines, of tags, of codings, of types; and whom a request is for.
#include "http/http_request.hpp"

#include "http/http_host.hpp"
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

TEST(HttpRequest, WeighsTypesAsTheRfcSays) {
  for (const auto& [list, weight] : std::vector<std::pair<std::string_view, unsigned>>{
           {"", 0},
           {"text/html", 0},
           {"application/json", 1001},
           {"Application/JSON", 1001},
           {"application/jsonx", 0},
           {"application/json;q=0.5", 501},
           {"application/json; q=0.125", 126},
           {"application/json;q=0, */*", 0},
           {"*/*;q=0.1, application/*;q=0.2", 200},
           {"application/*", 1000},
           {"*/*", 1000},
           {"text/*, a/*", 0},
       }) {
    EXPECT_EQ(media_weight(list, "application/json"), weight) << list;
  }
}

// A parsed request of these lines.
struct made_request {
  explicit made_request(const std::string& lines) : head(lines + "\r\n") {
    parser.begin(request, 1000, 100);
    EXPECT_EQ(parser.parse_head(head.data(), 0, head.size()), http_parser::progress::complete);
  }

  const std::string head;
  http_request request;
  http_parser parser;
};

TEST(HttpHost, IsCheckedOnThisMachineAndWhereverThereAreNames) {
  const made_request made("GET / HTTP/1.1\r\nHost: files.example:80\r\n");
  const std::vector<std::string> none;
  const std::vector<std::string> this_one{"files.example"};
  const std::vector<std::string> another{"another.example"};
  EXPECT_TRUE(is_for_this_server(made.request, false, none));
  EXPECT_FALSE(is_for_this_server(made.request, true, none));
  for (const bool over_loopback : {false, true}) {
    EXPECT_TRUE(is_for_this_server(made.request, over_loopback, this_one));
    EXPECT_FALSE(is_for_this_server(made.request, over_loopback, another));
  }
}

TEST(HttpHost, FindsWhatComesBeforeThePath) {
  EXPECT_FALSE(origin_of("/a?b=http://c"));
  EXPECT_FALSE(origin_of("*"));
  EXPECT_FALSE(origin_of("test:443"));
  for (const auto& [target, path] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"http://a.example:8/b?c", "/b?c"}, {"http://a.example:8", "/"}, {"http://a.example:8?c", "/"}}) {
    ASSERT_TRUE(origin_of(target)) << target;
    EXPECT_EQ(origin_of(target)->scheme, "http");
    EXPECT_EQ(origin_of(target)->authority, "a.example:8");
    EXPECT_EQ(without_origin(target), path);
  }
  EXPECT_EQ(without_origin("/a"), "/a");
}

}  // namespace
}  // namespace slabbuf::examples
