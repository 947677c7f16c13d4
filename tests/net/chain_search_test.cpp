// SPDX-License-Identifier: MIT
// Where a chain contains something, beside where a string does.
#include <slabbuf/net/detail/chain_search.hpp>

#include "support/chain_of_blocks.hpp"
#include "support/seeded_random.hpp"

#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace slabbuf {
namespace {

using net::detail::find;

std::size_t expected_at(const std::string& text, const std::string& pattern, std::size_t from) {
  const std::size_t at = text.find(pattern, from);
  return at != std::string::npos ? at : net::detail::npos;
}

TEST(chain_search_test, FindsWhatAStringFinds) {
  // Two letters only: most of what begins like the pattern goes on in another way.
  support::seeded_random random(1);
  const auto letters = [&](std::size_t count) {
    std::string made(count, ' ');
    for (char& each : made) each = static_cast<char>('a' + random.between(0, 1));
    return made;
  };
  local_pool pool;
  for (int round = 0; round < 2000; ++round) {
    buffer_chain chain;
    std::string text;
    for (std::size_t blocks = random.between(0, 8); blocks != 0; --blocks) {
      const std::string piece = letters(random.between(1, 5));
      chain.append(support::buffer_of(pool, piece));
      text += piece;
    }
    const std::string pattern = letters(random.between(0, 7));
    for (std::size_t from = 0; from <= text.size() + 1; ++from)
      ASSERT_EQ(find(chain, pattern, from), expected_at(text, pattern, from)) << text << " " << pattern << " " << from;
  }
}

TEST(chain_search_test, FindsBytesThatAreNoLetters) {
  local_pool pool;
  const std::string text{"\x00\xff\x80\x00\xff\x81", 6};
  buffer_chain chain;
  for (const char each : text) chain.append(support::buffer_of(pool, {&each, 1}));
  EXPECT_EQ(find(chain, {"\x00\xff\x81", 3}, 0), 3U);
  EXPECT_EQ(find(chain, {"\xff", 1}, 2), 4U);
  EXPECT_EQ(find(chain, {"\x81\x00", 2}, 0), net::detail::npos);
}

}  // namespace
}  // namespace slabbuf
