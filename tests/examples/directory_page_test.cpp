// SPDX-License-Identifier: MIT
// The page of a directory as text: what a browser without scripts gets, and what names cannot do to it.
#include "files/directory_page.hpp"

#include "http/digest.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>

namespace slabbuf::examples {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// What is between two tags, without attributes.
std::string_view between(std::string_view text, std::string_view open, std::string_view close) {
  const std::size_t first = text.find(open) + open.size();
  return text.substr(first, text.find(close, first) - first);
}

directory_listing listing_of(std::pmr::vector<directory_entry> entries) {
  return {"/a b/<c>/", false, std::move(entries), false};
}

std::string page_of(const directory_listing& listing) {
  std::string page;
  directory_page(listing, [&](std::string_view piece) { page += piece; });
  return page;
}

TEST(DirectoryPage, HasALinkASizeAndADateForEachEntry) {
  const std::string page = page_of(listing_of({{"below", true, 4096, 0}, {"file", false, 5'000'000, 1'700'000'000}}));
  EXPECT_TRUE(contains(page, "<a href=\"./below/\">below/</a>"));
  EXPECT_TRUE(contains(page,
                       "<a href=\"./file\">file</a></td><td class=\"number\">4.8 MiB</td>"
                       "<td class=\"number modified\">2023-11-14 22:13</td>"));
  EXPECT_TRUE(contains(page, "1 directory, 1 file, 4.8 MiB"));
  EXPECT_TRUE(contains(page, "data-writable=\"false\""));
  EXPECT_FALSE(contains(page, "{{"));
  EXPECT_TRUE(contains(page_of({"/", true, {}, false}), "data-writable=\"true\""));
}

TEST(DirectoryPage, LeadsUpwardsButNotOutOfTheRoot) {
  const std::string page = page_of(listing_of({}));
  EXPECT_TRUE(contains(page, "<a href=\"../\">..</a>"));
  EXPECT_TRUE(contains(page, "<a href=\"/\">/</a>"));
  EXPECT_TRUE(contains(page, "<a href=\"/a%20b/\">a b</a>"));
  EXPECT_TRUE(contains(page, "&lt;c&gt;</a>"));
  EXPECT_TRUE(contains(page, "<title>/a b/&lt;c&gt;/</title>"));
  EXPECT_TRUE(contains(page, "Nothing is here."));
  EXPECT_FALSE(contains(page_of({"/", false, {}, false}), "\"../\""));
}

TEST(DirectoryPage, NamesAreTextWhateverTheyContain) {
  const std::string page = page_of(listing_of({{"<script>alert(1)</script>", false, 1, 0},
                                               {"\" onclick=\"x", false, 1, 0},
                                               {"javascript:alert(1)", false, 1, 0},
                                               {"{{script}}", false, 1, 0},
                                               {"a?b#c%41", false, 1, 0},
                                               {"\xff\n", false, 1, 0}}));
  EXPECT_FALSE(contains(page, "<script>alert"));
  EXPECT_TRUE(contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;</a>"));
  EXPECT_FALSE(contains(page, "\" onclick"));
  EXPECT_TRUE(contains(page, "href=\"./javascript"));
  EXPECT_TRUE(contains(page, ">{{script}}</a>"));
  EXPECT_TRUE(contains(page, "href=\"./a%3Fb%23c%2541\""));
  EXPECT_TRUE(contains(page, "href=\"./%FF%0A\">\xEF\xBF\xBD\xEF\xBF\xBD</a>"));
}

TEST(DirectoryPage, SaysThatItShowsNotAll) {
  directory_listing listing = listing_of({{"x", false, 1, 0}});
  EXPECT_FALSE(contains(page_of(listing), "Only the first"));
  listing.cut = true;
  EXPECT_TRUE(contains(page_of(listing), "Only the first 1 entries are shown."));
}

TEST(DirectoryPage, ItsPolicyAllowsItsOwnScriptAndStyleAndNoOther) {
  const std::string page = page_of(listing_of({}));
  const std::string policy(directory_page_policy());
  EXPECT_EQ(policy.find("default-src 'none'; "), 0U);
  EXPECT_FALSE(contains(policy, "unsafe"));
  for (const auto& [open, close] : {std::pair{"<script>", "</script>"}, std::pair{"<style>", "</style>"}}) {
    sha256_hash hash;
    hash.update(std::as_bytes(std::span(between(page, open, close))));
    const std::string field = digest_field(hash.finish());
    EXPECT_TRUE(contains(policy, "'sha256-" + std::string(between(field, "=:", ":")) + "'")) << open;
  }
}

}  // namespace
}  // namespace slabbuf::examples
