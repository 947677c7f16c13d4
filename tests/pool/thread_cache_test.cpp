// SPDX-License-Identifier: MIT
// A cache over a depot of its own: what went through the depot is read off depot::blocks_out().
#include <slabbuf/pool/detail/thread_cache.hpp>

#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace slabbuf::detail {
namespace {

constexpr std::size_t sizes[] = {16, 64, 100, 4096, 64 << 10, 1 << 20};
constexpr std::size_t class_count = std::size(sizes);
constexpr std::size_t medium = 1;  // the class single-class tests use

std::array<block_class, class_count> make_classes() {
  std::array<block_class, class_count> classes{};
  for (std::uint32_t index = 0; index < class_count; ++index) {
    classes[index].size = sizes[index];
    classes[index].index = index;
  }
  return classes;
}

class cache_over_depot {
 public:
  explicit cache_over_depot(std::size_t cache_bytes_max, std::size_t budget_bytes_max = memory_budget::unlimited)
      : below(pages_, budget_bytes_max, classes_.data(), class_count, false),
        cache(thread_cache::make(below, classes_.data(), class_count, cache_bytes_max, room)) {}
  cache_over_depot(const cache_over_depot&) = delete;
  cache_over_depot& operator=(const cache_over_depot&) = delete;
  ~cache_over_depot() {
    cache->flush();
    EXPECT_EQ(below.budget().charged(), 0U);
    EXPECT_TRUE(below.check_invariants());
  }

  // What a pool does for an acquire and for a release.
  free_block get(std::size_t index) {
    free_block block;
    if (!cache->pop(index, block)) {
      EXPECT_EQ(cache->refill(index, block), refusal::none);
    }
    return block;
  }
  void put(std::size_t index, free_block block) {
    if (!cache->push(index, block)) cache->flush_half(index, block);
  }

  std::size_t cached_bytes() const {
    std::size_t bytes = 0;
    for (std::size_t index = 0; index < class_count; ++index) bytes += cache->depth(index) * sizes[index];
    return bytes;
  }

  // Fills the bin of `index` until a put goes to the depot, and returns the depth it reached.
  std::uint64_t fill(std::size_t index) {
    std::vector<free_block> held;
    for (int count = 0; count < 1000; ++count) held.push_back(get(index));
    std::uint64_t deepest = 0;
    for (const free_block block : held) {
      put(index, block);
      deepest = std::max(deepest, cache->depth(index));
    }
    return deepest;
  }

 private:
  support::failing_page_source pages_;
  std::array<block_class, class_count> classes_ = make_classes();

 public:
  depot below;
  memory_budget room{memory_budget::unlimited};
  const std::unique_ptr<thread_cache> cache;
};

TEST(thread_cache_test, StartsEmptyAndFindsNothing) {
  cache_over_depot tested(1 << 20);
  free_block block;
  for (std::size_t index = 0; index <= class_count; ++index) EXPECT_FALSE(tested.cache->pop(index, block));
  EXPECT_FALSE(tested.cache->flush());
  EXPECT_EQ(tested.cached_bytes(), 0U);
}

TEST(thread_cache_test, TheClassOfOversizeBuffersHoldsNothing) {
  cache_over_depot tested(1 << 20);
  EXPECT_FALSE(tested.cache->push(class_count, free_block(nullptr, 0)));
}

TEST(thread_cache_test, HandsOutTheNewestFirst) {
  cache_over_depot tested(1 << 20);
  const free_block first = tested.get(medium);
  const free_block second = tested.get(medium);
  tested.put(medium, first);
  tested.put(medium, second);
  EXPECT_EQ(tested.get(medium).data(), second.data());
  EXPECT_EQ(tested.get(medium).data(), first.data());
  tested.put(medium, first);
  tested.put(medium, second);
}

TEST(thread_cache_test, KeepsTheExtentOfABlock) {
  cache_over_depot tested(1 << 20);
  const free_block block = tested.get(3);
  tested.put(3, free_block(block.data(), 17));
  EXPECT_EQ(tested.get(3).units(), 17U);
  tested.put(3, block);
}

TEST(thread_cache_test, CountsWhatItHandsOut) {
  cache_over_depot tested(1 << 20);
  tested.put(medium, tested.get(medium));
  tested.put(medium, tested.get(medium));
  tested.put(medium, tested.get(medium));
  EXPECT_EQ(tested.cache->acquired(medium), 3U);
  EXPECT_EQ(tested.cache->misses(medium), 1U);
  EXPECT_EQ(tested.cache->acquired(0), 0U);
}

TEST(thread_cache_test, RefillsHalfItsRoomAndOneForTheCaller) {
  cache_over_depot tested(1 << 20);
  const std::uint64_t room = tested.fill(medium);
  ASSERT_GE(room, 2U);
  tested.cache->flush();
  EXPECT_EQ(tested.below.blocks_out(medium), 0U);

  std::vector<free_block> held;
  std::uint64_t batch_max = 0;
  for (int count = 0; count < 2000; ++count) {
    const bool refilled = tested.cache->depth(medium) == 0;
    const std::uint64_t out_before = tested.below.blocks_out(medium);
    held.push_back(tested.get(medium));
    const std::uint64_t fetched = tested.below.blocks_out(medium) - out_before;
    EXPECT_EQ(fetched != 0, refilled);
    if (refilled) {
      EXPECT_EQ(fetched, tested.cache->depth(medium) + 1);
    }
    batch_max = std::max(batch_max, fetched);
  }
  EXPECT_EQ(batch_max, room / 2 + 1);
  for (const free_block block : held) tested.put(medium, block);
}

TEST(thread_cache_test, FlushesTheOlderHalfOfAFullBin) {
  cache_over_depot tested(1 << 20);
  const std::uint64_t room = tested.fill(medium);
  std::vector<free_block> held;
  for (std::uint64_t count = 0; count < 4 * room; ++count) held.push_back(tested.get(medium));

  // The bin has all the room it can get: when that is full, half of it goes at once.
  std::vector<std::byte*> expected;  // what must be in the bin, oldest first
  while (tested.cache->depth(medium) != 0) held.push_back(tested.get(medium));
  std::uint64_t flushes = 0;
  for (const free_block block : held) {
    const std::uint64_t out_before = tested.below.blocks_out(medium);
    const bool full = expected.size() == room;
    tested.put(medium, block);
    const std::uint64_t flushed = out_before - tested.below.blocks_out(medium);
    EXPECT_EQ(flushed, full ? (room + 1) / 2 : 0);
    expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(flushed));
    expected.push_back(block.data());
    ASSERT_EQ(tested.cache->depth(medium), expected.size());
    flushes += full ? 1U : 0U;
  }
  EXPECT_GE(flushes, 3U);
  std::vector<free_block> kept;
  for (; !expected.empty(); expected.pop_back()) {
    kept.push_back(tested.get(medium));
    EXPECT_EQ(kept.back().data(), expected.back());
  }
  for (const free_block block : kept) tested.put(medium, block);
}

TEST(thread_cache_test, WithoutRoomEverythingGoesThroughTheDepot) {
  cache_over_depot tested(0);
  for (std::size_t index = 0; index < class_count; ++index) {
    std::vector<free_block> held;
    for (std::uint64_t count = 1; count <= 50; ++count) {
      held.push_back(tested.get(index));
      EXPECT_EQ(tested.below.blocks_out(index), count);
    }
    for (std::uint64_t count = 50; count > 0; --count) {
      tested.put(index, held[count - 1]);
      EXPECT_EQ(tested.below.blocks_out(index), count - 1);
    }
    EXPECT_EQ(tested.cache->misses(index), 50U);
  }
  EXPECT_FALSE(tested.cache->flush());
}

TEST(thread_cache_test, ClassesLargerThanTheCapAreNotKept) {
  cache_over_depot tested(5000);
  tested.put(4, tested.get(4));
  EXPECT_EQ(tested.cache->depth(4), 0U);
  EXPECT_EQ(tested.below.blocks_out(4), 0U);
  tested.put(3, tested.get(3));
  EXPECT_EQ(tested.cache->depth(3), 1U);
}

TEST(thread_cache_test, FlushEmptiesEveryBin) {
  cache_over_depot tested(4 << 20);
  for (std::size_t index = 0; index < class_count; ++index) tested.put(index, tested.get(index));
  EXPECT_GT(tested.cached_bytes(), 0U);
  EXPECT_TRUE(tested.cache->flush());
  EXPECT_EQ(tested.cached_bytes(), 0U);
  for (std::size_t index = 0; index < class_count; ++index) EXPECT_EQ(tested.below.blocks_out(index), 0U);
}

TEST(thread_cache_test, ABudgetForOneBlockGivesOneBlock) {
  cache_over_depot tested(4096, sizes[medium]);
  const free_block only = tested.get(medium);
  free_block none;
  EXPECT_EQ(tested.cache->refill(medium, none), refusal::budget);
  tested.put(medium, only);
}

class thread_cache_cap_test : public ::testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(each, thread_cache_cap_test,
                         ::testing::Values(0, 1, 16, 99, 100, 4096, 10000, 100000, 1 << 20, (3 << 20) + 1),
                         ::testing::PrintToStringParamName());

TEST_P(thread_cache_cap_test, IsNeverExceededWhateverTheSizes) {
  support::seeded_random random(304);
  cache_over_depot tested(GetParam());
  std::array<std::vector<free_block>, class_count> held;
  std::uint64_t gets = 0;
  for (int step = 0; step < 30000; ++step) {
    // A class is favoured for a while, so that bins grow at the cost of others.
    const std::size_t index =
        random.one_in(4) ? random.between(0, class_count - 1) : static_cast<std::size_t>(step / 1000) % class_count;
    const std::size_t held_max = index < 4 ? 300 : 8;
    if (held[index].empty() || (held[index].size() < held_max && random.one_in(2))) {
      held[index].push_back(tested.get(index));
      ++gets;
    } else {
      tested.put(index, held[index].back());
      held[index].pop_back();
    }
    ASSERT_LE(tested.cached_bytes(), GetParam());
    ASSERT_EQ(tested.below.blocks_out(index), held[index].size() + tested.cache->depth(index));
  }
  std::uint64_t acquired = 0;
  for (std::size_t index = 0; index < class_count; ++index) {
    acquired += tested.cache->acquired(index);
    for (const free_block block : held[index]) tested.put(index, block);
  }
  EXPECT_EQ(acquired, gets);
  EXPECT_LE(tested.cached_bytes(), GetParam());
}

}  // namespace
}  // namespace slabbuf::detail
