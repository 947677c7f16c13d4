// SPDX-License-Identifier: MIT
// Neighbours become strangers, and no two seeds are alike.
#include <slabbuf/pool/detail/random.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <set>

namespace slabbuf {
namespace {

// The generator's published first outputs for the seed 1234567: each is of the seed and a multiple of its increment.
TEST(random_test, IsSplitMix64) {
  constexpr std::uint64_t increment = 0x9e37'79b9'7f4a'7c15;
  EXPECT_EQ(detail::mixed(1234567), 6457827717110365317U);
  EXPECT_EQ(detail::mixed(1234567 + increment), 3203168211198807973U);
  EXPECT_EQ(detail::mixed(1234567 + 2 * increment), 9817491932198370423U);
}

TEST(random_test, HalfOfTheBitsChangeWithOne) {
  std::uint64_t changed = 0;
  for (std::uint64_t value = 0; value < 1000; ++value)
    changed += static_cast<std::uint64_t>(std::popcount(detail::mixed(value) ^ detail::mixed(value + 1)));
  EXPECT_GT(changed, 31'000U);
  EXPECT_LT(changed, 33'000U);
}

TEST(random_test, NoSeedComesTwice) {
  std::set<std::uint64_t> seeds;
  for (int count = 0; count < 1000; ++count) EXPECT_TRUE(seeds.insert(detail::fresh_seed()).second);
}

}  // namespace
}  // namespace slabbuf
