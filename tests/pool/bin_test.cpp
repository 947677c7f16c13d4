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
  tested->sample_at = never_sampled;
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
  tested->sample_at = never_sampled;
  for (std::uint64_t count = 1; count <= 100'000; ++count) {
    ASSERT_TRUE(tested->push(&memory));
    ASSERT_EQ(tested->depth(), 1U);
    std::byte* block = nullptr;
    ASSERT_TRUE(tested->pop(block));
    ASSERT_EQ(tested->popped(), count);
    ASSERT_EQ(tested->depth(), 0U);
  }
}

TEST(bin_test, KeepsItsBlocksFromWhereTheyAreToBeSampled) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, 3> memory{};
  tested->room = 3;
  for (std::byte& each : memory) ASSERT_TRUE(tested->push(&each));
  tested->sample_at = std::uint64_t{2} << bin::count_shift;  // two may go
  std::byte* block = nullptr;
  EXPECT_TRUE(tested->pop(block));
  EXPECT_TRUE(tested->pop(block));
  EXPECT_FALSE(tested->pop(block));
  EXPECT_EQ(tested->depth(), 1U);
  EXPECT_TRUE(tested->push(block));
  tested->sample_at = never_sampled;
  EXPECT_TRUE(tested->pop(block));
}

TEST(bin_test, GivesTheOldestFirstWhenAskedTo) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, 4> memory{};
  tested->room = 4;
  for (std::byte& each : memory) ASSERT_TRUE(tested->push(&each));
  for (std::byte& each : memory) {
    std::byte* block = nullptr;
    ASSERT_TRUE(tested->pop_oldest(block));
    EXPECT_EQ(block, &each);
  }
  std::byte* none = nullptr;
  EXPECT_FALSE(tested->pop_oldest(none));
  EXPECT_EQ(tested->popped(), 4U);
}

}  // namespace
}  // namespace slabbuf::detail
