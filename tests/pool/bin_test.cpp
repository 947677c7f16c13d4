// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/bin.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>

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
  tested->grant(bin::left_max);
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
  tested->grant(bin::left_max);
  for (std::uint64_t count = 1; count <= 100'000; ++count) {
    ASSERT_TRUE(tested->push(&memory));
    ASSERT_EQ(tested->depth(), 1U);
    std::byte* block = nullptr;
    ASSERT_TRUE(tested->pop(block));
    ASSERT_EQ(tested->popped(), count);
    ASSERT_EQ(tested->depth(), 0U);
  }
}

TEST(bin_test, HandsOutWhatWasGrantedAndNoMore) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, 3> memory{};
  tested->room = 3;
  for (std::byte& each : memory) ASSERT_TRUE(tested->push(&each));
  std::byte* block = nullptr;
  EXPECT_FALSE(tested->pop(block)) << "nothing was granted yet";
  tested->grant(2);
  EXPECT_EQ(tested->left(), 2U);
  EXPECT_TRUE(tested->pop(block));
  EXPECT_TRUE(tested->pop(block));
  EXPECT_FALSE(tested->pop(block));
  EXPECT_EQ(tested->depth(), 1U);
  EXPECT_EQ(tested->popped(), 2U);
  EXPECT_TRUE(tested->push(block)) << "coming back costs none";
  tested->grant(1);
  EXPECT_TRUE(tested->pop(block));
  EXPECT_FALSE(tested->pop(block));
  EXPECT_EQ(tested->popped(), 3U);
}

// A grant that is not used up, one of more than there can be, and more turns than a turn's number has values.
TEST(bin_test, CountsOverManyGrants) {
  const auto tested = std::make_unique<bin>();
  std::byte memory{};
  tested->room = 1;
  ASSERT_TRUE(tested->push(&memory));
  std::uint64_t popped = 0;
  for (int turn = 0; turn < 2000; ++turn) {
    tested->grant(turn % 3 == 0 ? ~std::uint64_t{0} : 2);
    EXPECT_EQ(tested->left(), turn % 3 == 0 ? bin::left_max : 2);
    for (int count = 0; count < turn % 2 + 1; ++count) {
      std::byte* block = nullptr;
      ASSERT_TRUE(tested->pop(block));
      ASSERT_TRUE(tested->push(block));
      ASSERT_EQ(tested->popped(), ++popped);
    }
    ASSERT_EQ(tested->depth(), 1U);
  }
}

// What stats() reads on one thread while another grants and pops.
TEST(bin_test, CountsForOtherThreadsNeverTooManyAndNeverFewerThanBefore) {
  const auto tested = std::make_unique<bin>();
  std::byte memory{};
  tested->room = 1;
  ASSERT_TRUE(tested->push(&memory));
  constexpr std::uint64_t count = 200'000;
  std::atomic<bool> reads{false};
  std::thread reader([&] {
    std::uint64_t seen = 0;
    for (std::uint64_t last = 0; last != count; last = seen) {
      seen = tested->popped();
      ASSERT_GE(seen, last);
      ASSERT_LE(seen, count);
      reads = true;
    }
  });
  while (!reads) std::this_thread::yield();
  for (std::uint64_t popped = 0; popped < count;) {
    tested->grant(3);
    std::byte* block = nullptr;
    while (popped < count && tested->pop(block)) {
      ASSERT_TRUE(tested->push(block));
      ++popped;
    }
  }
  reader.join();
}

TEST(bin_test, CountsAllThatOneGrantHas) {
  const auto tested = std::make_unique<bin>();
  std::byte memory{};
  tested->room = 1;
  ASSERT_TRUE(tested->push(&memory));
  tested->grant(bin::left_max);
  std::byte* block = nullptr;
  for (std::uint64_t count = 0; count < bin::left_max; ++count) {
    ASSERT_TRUE(tested->pop(block));
    ASSERT_TRUE(tested->push(block));
  }
  EXPECT_EQ(tested->left(), 0U);
  EXPECT_FALSE(tested->pop(block));
  EXPECT_EQ(tested->depth(), 1U);
  EXPECT_EQ(tested->popped(), bin::left_max);
  tested->grant(bin::left_max);
  EXPECT_TRUE(tested->pop(block));
  EXPECT_EQ(tested->popped(), bin::left_max + 1);
}

TEST(bin_test, WhoseBlocksWereReclaimedHasNoneAndCountsWhatItGaveBefore) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, 2> memory{};
  tested->room = 2;
  tested->grant(10);
  for (std::byte& each : memory) ASSERT_TRUE(tested->push(&each));
  std::byte* block = nullptr;
  ASSERT_TRUE(tested->pop(block));
  tested->reclaimed_at = tested->state.load();
  ASSERT_TRUE(tested->pop(block)) << "its owner was in the middle of it";
  EXPECT_EQ(tested->depth(), 0U);
  EXPECT_EQ(tested->popped(), 1U);
}

TEST(bin_test, GivesTheOldestFirstWhenAskedTo) {
  const auto tested = std::make_unique<bin>();
  std::array<std::byte, 4> memory{};
  tested->room = 4;
  tested->grant(4);
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
