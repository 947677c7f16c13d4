// SPDX-License-Identifier: MIT
// What the pools share beneath their verbs; and the heap: untouched in steady state, survived when
// it fails.
#include <slabbuf/pool/detail/pool_core.hpp>

#include "support/both_pools.hpp"
#include "support/counting_allocator.hpp"
#include "support/failing_page_source.hpp"

#include <slabbuf/pool/basic_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::failing_heap;
using support::heap_failure;

constexpr std::size_t sizes[] = {1, 100, 5000, 70000, 1 << 20};

// Acquires and releases of every kind.
template <class Pool>
void use(Pool& pool) {
  for (const std::size_t size : sizes) {
    buffer one = pool.acquire(size);
    buffer two = pool.acquire(size);
    one.data()[0] = std::byte{1};
    two = std::move(one);
    pool.put_buffer(pool.get_buffer(size));
  }
}

template <class Pool>
class pool_core_test : public ::testing::Test {
 protected:
  void SetUp() override {
    // A thread's first pool registers what runs when it exits: the C library allocates for that, and
    // does not survive when it cannot.
    Pool().acquire(1).release();
  }
};
TYPED_TEST_SUITE(pool_core_test, support::both_pools, support::pool_name);

TYPED_TEST(pool_core_test, IdsAreNeverUsedTwice) {
  std::uint64_t last = 0;
  for (int count = 0; count < 10; ++count) {
    TypeParam pool;
    EXPECT_GT(pool.core().id(), last);
    last = pool.core().id();
  }
}

TYPED_TEST(pool_core_test, TakenBlocksKnowTheirClass) {
  TypeParam pool;
  detail::pool_core& core = pool.core();
  const detail::pool_core::taken_or_refused taken = core.take_slow(1000);
  ASSERT_NE(taken.data, nullptr);
  EXPECT_EQ(taken.why, detail::refusal::none);
  EXPECT_EQ(taken.of->size, 1024U);
  EXPECT_EQ(taken.of->pool, &core);
  detail::pool_core::give_slow(*taken.of, taken.data);

  const detail::pool_core::taken_or_refused oversize = core.take_slow(core.size_classes().largest() + 1);
  ASSERT_NE(oversize.data, nullptr);
  EXPECT_EQ(oversize.of->size, 0U);
  detail::pool_core::give_slow(*oversize.of, oversize.data);
  EXPECT_TRUE(core.check_invariants());
}

TYPED_TEST(pool_core_test, ARefusalSaysWhy) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.budget_bytes_max = 1 << 20;
  TypeParam pool(options);
  EXPECT_EQ(pool.core().take_slow(std::size_t{2} << 20).why, detail::refusal::budget);
  pages.fail_maps_from(1);
  EXPECT_EQ(pool.core().take_slow(100).why, detail::refusal::memory);
  EXPECT_EQ(pool.core().take_slow(100).data, nullptr);
}

// A class that shares its bucket with others is found by search; it has its own bin all the same.
TYPED_TEST(pool_core_test, ServesDenseClassesFromTheCacheToo) {
  pool_options options;
  options.size_classes = {1400, 1410, 1420, 1430, 65536};
  TypeParam pool(options);
  for (const std::size_t size : {std::size_t{1405}, std::size_t{1420}, std::size_t{1421}}) {
    for (int round = 0; round < 5; ++round) {
      const buffer got = pool.acquire(size);
      EXPECT_EQ(got.capacity(), (size + 9) / 10 * 10);
    }
  }
  EXPECT_EQ(pool.stats().hits, 12U) << "all but the first of each size";
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(pool_core_test, SteadyStateAllocatesNothing) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc in place";
  TypeParam pool;
  for (int warm_up = 0; warm_up < 10; ++warm_up) use(pool);
  const std::uint64_t before = support::heap_allocations_of_the_process();
  for (int round = 0; round < 1000; ++round) use(pool);
  EXPECT_EQ(support::heap_allocations_of_the_process() - before, 0U);
}

TYPED_TEST(pool_core_test, ABufferRefusedAllocatesNothing) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc in place";
  TypeParam pool(support::with_budget(1 << 20));
  const buffer all = pool.acquire(1 << 20);
  const std::uint64_t before = support::heap_allocations_of_the_process();
  for (int round = 0; round < 100; ++round) EXPECT_FALSE(pool.try_acquire(round % 2 == 0 ? 1 : 2 << 20));
  EXPECT_EQ(support::heap_allocations_of_the_process() - before, 0U);
}

// Every allocation of the library fails once: those of the pool itself by an exception, those behind
// try_acquire() by a buffer that owns nothing or by doing without.
TYPED_TEST(pool_core_test, SurvivesTheFailureOfAnyAllocation) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc in place";
  const pool_options options;
  for (const heap_failure mode : {heap_failure::once, heap_failure::from_then_on}) {
    bool failed = true;
    for (std::uint64_t nth = 1; failed; ++nth) {
      SCOPED_TRACE("allocation number " + std::to_string(nth));
      support::failing_page_source pages;
      std::uint64_t refused = 0;
      std::uint64_t in_use = 0;
      bool sound = true;
      {
        // Nothing of GoogleTest in here: it allocates, too.
        const failing_heap failing(nth, mode);
        try {
          pool_options copy = options;
          copy.pages = &pages;
          TypeParam pool(copy);
          for (const std::size_t size : sizes) {
            buffer one = pool.try_acquire(size);
            buffer two = pool.try_acquire(size * 4);
            refused += (one ? 0U : 1U) + (two ? 0U : 1U);
            sound = sound && pool.check_invariants();
          }
          pool.trim();
          sound = sound && pool.check_invariants() && pool.stats().refused == refused;
          sound = sound && pages.mapping_count() == 0;  // a run that was lost would keep its region
          in_use = pool.stats().in_use;
        } catch (const std::bad_alloc&) {
          sound = sound && pages.mapping_count() == 0;
        }
        failed = failing.failed();
      }
      EXPECT_TRUE(sound);
      EXPECT_EQ(in_use, 0U);
      EXPECT_TRUE(failed || refused == 0);
      pages.expect_all_unmapped();
      ASSERT_LT(nth, 200U);
    }
  }
}

TEST(pool_core_uncached_test, AThreadThatCannotHaveACacheDoesWithout) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc in place";
  concurrent_pool().acquire(1).release();
  concurrent_pool pool;
  {
    const failing_heap failing(1, heap_failure::once);  // the list of the thread's caches, or the cache
    const buffer got = pool.try_acquire(100);
    EXPECT_TRUE(failing.failed());
    EXPECT_TRUE(got);
  }
  const pool_stats now = pool.stats();
  EXPECT_EQ(now.acquired, 1U);
  EXPECT_EQ(now.released, 1U);
  EXPECT_GE(now.uncached, 1U);
  EXPECT_TRUE(pool.check_invariants());
}

// More pools than places in a thread: those beyond take the long way and are right all the same.
TEST(pool_core_slots_test, PoolsBeyondTheLastPlaceWorkToo) {
  std::vector<std::unique_ptr<concurrent_pool>> pools;
  for (std::size_t count = 0; count < 3 * detail::pool_slots; ++count) {
    pools.push_back(std::make_unique<concurrent_pool>());
  }
  for (int round = 0; round < 3; ++round) {
    for (const auto& each : pools) {
      buffer bytes = each->acquire(100);
      bytes.data()[0] = std::byte{1};
    }
  }
  for (const auto& each : pools) {
    EXPECT_EQ(each->stats().acquired, 3U);
    EXPECT_EQ(each->stats().hits, 2U);
    EXPECT_TRUE(each->check_invariants());
  }
  pools.clear();
  EXPECT_TRUE(concurrent_pool().acquire(1)) << "the places are free again";
}

}  // namespace
}  // namespace slabbuf
