// SPDX-License-Identifier: MIT
#include <slabbuf/pool/buffer.hpp>

#include "support/both_pools.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace slabbuf {
namespace {

static_assert(sizeof(buffer) <= 24);
static_assert(std::is_nothrow_default_constructible_v<buffer>);
static_assert(std::is_nothrow_move_constructible_v<buffer> && std::is_nothrow_move_assignable_v<buffer>);
static_assert(!std::is_copy_constructible_v<buffer> && !std::is_copy_assignable_v<buffer>);

class buffer_test : public ::testing::Test {
 protected:
  ~buffer_test() override { EXPECT_EQ(in_use(), 0U); }

  std::uint64_t in_use() const { return pool_.stats().in_use; }

  // What a buffer of nothing looks like, from every side.
  static void expect_owns_nothing(buffer& tested) {
    EXPECT_FALSE(tested);
    EXPECT_TRUE(tested.empty());
    EXPECT_EQ(tested.size(), 0U);
    EXPECT_EQ(tested.capacity(), 0U);
    EXPECT_EQ(tested.data(), nullptr);
    EXPECT_EQ(std::as_const(tested).data(), nullptr);
    EXPECT_TRUE(tested.prepare().empty());
    EXPECT_TRUE(tested.writable(0).empty());
    EXPECT_THROW(tested.writable(1), std::out_of_range);
    EXPECT_THROW(tested.resize(1), std::out_of_range);
    EXPECT_THROW(tested.commit(1), std::out_of_range);
    EXPECT_NO_THROW(tested.resize(0));
  }

  local_pool pool_;
};

TEST_F(buffer_test, OwnsNothingAtFirst) {
  buffer tested;
  expect_owns_nothing(tested);
}

TEST_F(buffer_test, HasTheSizeAskedForAndTheCapacityOfItsClass) {
  buffer tested = pool_.acquire(1000);
  EXPECT_TRUE(tested);
  EXPECT_FALSE(tested.empty());
  EXPECT_EQ(tested.size(), 1000U);
  EXPECT_EQ(tested.capacity(), 1024U);
  EXPECT_NE(tested.data(), nullptr);
  EXPECT_EQ(tested.data(), std::as_const(tested).data());
  EXPECT_EQ(tested.prepare().size(), 1024U);
}

TEST_F(buffer_test, MovingHandsTheBlockOver) {
  buffer from = pool_.acquire(100);
  const std::byte* const data = from.data();
  buffer to = std::move(from);
  expect_owns_nothing(from);  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_EQ(to.data(), data);
  EXPECT_EQ(to.size(), 100U);
  EXPECT_EQ(to.capacity(), 128U);
  EXPECT_EQ(in_use(), 1U);
}

TEST_F(buffer_test, MoveAssignmentReleasesWhatWasThere) {
  buffer first = pool_.acquire(100);
  buffer second = pool_.acquire(5000);
  const std::byte* const data = second.data();
  first = std::move(second);
  EXPECT_EQ(in_use(), 1U);
  EXPECT_EQ(first.data(), data);
  EXPECT_EQ(first.capacity(), 8192U);
  first = buffer();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(buffer_test, MoveAssignmentTakesBuffersOfOtherPools) {
  local_pool other;
  buffer tested = pool_.acquire(10);
  tested = other.acquire(20);
  EXPECT_EQ(in_use(), 0U);
  EXPECT_EQ(other.stats().in_use, 1U);
  tested.release();
  EXPECT_EQ(other.stats().in_use, 0U);
}

TEST_F(buffer_test, SelfMoveChangesNothing) {
  buffer tested = pool_.acquire(100);
  const std::byte* const data = tested.data();
  buffer& same = tested;
  tested = std::move(same);
  EXPECT_EQ(tested.data(), data);
  EXPECT_EQ(tested.size(), 100U);
  EXPECT_EQ(in_use(), 1U);
}

TEST_F(buffer_test, SwapsLikeAValue) {
  buffer first = pool_.acquire(1);
  buffer second = pool_.acquire(1000);
  std::swap(first, second);
  EXPECT_EQ(first.size(), 1000U);
  EXPECT_EQ(second.size(), 1U);
}

TEST_F(buffer_test, ReleasingTwiceIsHarmless) {
  buffer tested = pool_.acquire(100);
  tested.release();
  EXPECT_EQ(in_use(), 0U);
  expect_owns_nothing(tested);
  tested.release();
  EXPECT_EQ(pool_.stats().released, 1U);
}

TEST_F(buffer_test, ResizesWithinItsCapacity) {
  buffer tested = pool_.acquire(100);
  const std::byte* const data = tested.data();
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 128, 64}) {
    tested.resize(size);
    EXPECT_EQ(tested.size(), size);
    EXPECT_EQ(tested.capacity(), 128U);
    EXPECT_EQ(tested.data(), data);
  }
}

TEST_F(buffer_test, ResizingChangesNoByte) {
  buffer tested = pool_.acquire(100);
  tested.writable(50)[49] = std::byte{7};
  tested.resize(10);
  tested.resize(128);
  EXPECT_EQ(std::as_const(tested).data()[49], std::byte{7});
  EXPECT_EQ(std::as_const(tested).data()[127], std::byte{0});
}

TEST_F(buffer_test, CommitSetsTheSize) {
  buffer tested = pool_.acquire(0);
  const std::span<std::byte> room = tested.prepare();
  ASSERT_EQ(room.size(), 2U);
  room[0] = std::byte{9};
  tested.commit(1);
  EXPECT_EQ(tested.size(), 1U);
  EXPECT_EQ(std::as_const(tested).data()[0], std::byte{9});
}

TEST_F(buffer_test, WritableIsTheStartOfTheBuffer) {
  buffer tested = pool_.acquire(100);
  EXPECT_EQ(tested.writable(40).data(), std::as_const(tested).data());
  EXPECT_EQ(tested.writable(40).size(), 40U);
  EXPECT_EQ(tested.writable(100).size(), 100U);
  EXPECT_TRUE(tested.writable(0).empty());
}

// On an ordinary buffer and on an oversize one, whose capacity is kept elsewhere.
TEST_F(buffer_test, SizesOutOfRangeThrowAndChangeNothing) {
  for (const std::size_t size : std::initializer_list<std::size_t>{std::size_t{100}, (std::size_t{1} << 20) + 1}) {
    buffer tested = pool_.acquire(size);
    const std::size_t capacity = tested.capacity();
    for (const std::size_t wrong :
         std::initializer_list<std::size_t>{capacity + 1, std::size_t{1} << 32, (std::size_t{1} << 32) + 1, SIZE_MAX}) {
      EXPECT_THROW(tested.resize(wrong), std::out_of_range);
      EXPECT_THROW(tested.commit(wrong), std::out_of_range);
      EXPECT_THROW(tested.writable(wrong), std::out_of_range);
    }
    EXPECT_THROW(tested.writable(size + 1), std::out_of_range) << "above size, below capacity";
    EXPECT_EQ(tested.size(), size);
    EXPECT_EQ(tested.capacity(), capacity);
  }
}

TEST_F(buffer_test, TheExceptionNamesTheCallAndBothSizes) {
  buffer tested = pool_.acquire(100);
  try {
    tested.resize(129);
    FAIL() << "nothing thrown";
  } catch (const std::out_of_range& fault) {
    EXPECT_STREQ(fault.what(), "slabbuf::buffer::resize: 129 bytes of 128");
  }
}

TEST_F(buffer_test, AnOversizeBufferHasWholePages) {
  const std::size_t largest = pool_.size_classes().largest();
  buffer tested = pool_.acquire(largest + 1);
  EXPECT_EQ(tested.size(), largest + 1);
  EXPECT_EQ(tested.capacity(), largest + page_size());
  tested.resize(tested.capacity());
  tested.data()[tested.size() - 1] = std::byte{1};
  buffer moved = std::move(tested);
  EXPECT_EQ(moved.capacity(), largest + page_size());
}

TEST_F(buffer_test, TheLargestBufferThereIsKeepsItsSize) {
  buffer tested = pool_.try_acquire(buffer_bytes_max);
  if (!tested) GTEST_SKIP() << "the system has no address space for it";
  EXPECT_EQ(tested.size(), buffer_bytes_max);
  EXPECT_EQ(tested.capacity(), buffer_bytes_max);
  EXPECT_THROW(tested.resize(buffer_bytes_max + 1), std::out_of_range);
}

}  // namespace
}  // namespace slabbuf
