// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/bin.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <memory>

namespace slabbuf::detail {
namespace {

TEST(bin_test, WithoutRoomTakesAndGivesNothing) {
  const auto tested = std::make_unique<bin>();
  std::byte* block = nullptr;
  std::byte memory{};
  EXPECT_FALSE(tested->pop(block));
  EXPECT_FALSE(tested->push(&memory));
  EXPECT_EQ(tested->depth(), 0U);
  EXPECT_EQ(tested->popped(), 0U);
}

TEST(bin_test, GivesTheNewestFirstAndCountsWhatItGave) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, bin::room_max + 1> memory{};
  tested->room = bin::room_max;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t index = 0; index < bin::room_max; ++index) ASSERT_TRUE(tested->push(&memory[index]));
    EXPECT_FALSE(tested->push(&memory.back()));
    EXPECT_EQ(tested->depth(), bin::room_max);
    for (std::size_t index = bin::room_max; index-- > 0;) {
      std::byte* block = nullptr;
      ASSERT_TRUE(tested->pop(block));
      EXPECT_EQ(block, &memory[index]);
    }
    std::byte* none = nullptr;
    EXPECT_FALSE(tested->pop(none));
    EXPECT_EQ(tested->popped(), (static_cast<std::uint64_t>(round) + 1) * bin::room_max);
  }
}

// Depth and count share a word: neither runs over into the other.
TEST(bin_test, CountsBeyondWhatDepthCanHold) {
  const auto tested = std::make_unique<bin>();
  std::byte memory{};
  tested->room = 1;
  for (std::uint64_t count = 1; count <= 100'000; ++count) {
    ASSERT_TRUE(tested->push(&memory));
    ASSERT_EQ(tested->depth(), 1U);
    std::byte* block = nullptr;
    ASSERT_TRUE(tested->pop(block));
    ASSERT_EQ(tested->popped(), count);
    ASSERT_EQ(tested->depth(), 0U);
  }
}

}  // namespace
}  // namespace slabbuf::detail
