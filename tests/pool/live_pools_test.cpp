// SPDX-License-Identifier: MIT
// Pools and threads end in any order. (Caches that come back: concurrent_pool_test.cpp.)
#include <slabbuf/pool/detail/live_pools.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>

namespace slabbuf {
namespace {

using detail::caches_of_thread;
using detail::live_pools;

TEST(live_pools_test, KnowsConcurrentPoolsWhileTheyLive) {
  std::uint64_t id = 0;
  {
    concurrent_pool pool;
    id = pool.core().id();
    EXPECT_TRUE(live_pools::of_process().has(id));
    local_pool of_one_thread;
    EXPECT_FALSE(live_pools::of_process().has(of_one_thread.core().id()));
  }
  EXPECT_FALSE(live_pools::of_process().has(id));
}

TEST(live_pools_test, LeavesACacheAloneWhosePoolIsGone) {
  std::uint64_t id = 0;
  { id = concurrent_pool().core().id(); }
  live_pools::of_process().detach(id, nullptr);
}

TEST(live_pools_test, AThreadFindsItsOwnCacheAfterItsFirstUse) {
  concurrent_pool pool;
  const std::uint64_t id = pool.core().id();
  EXPECT_EQ(caches_of_thread::here()->find(id), nullptr);
  pool.acquire(100).release();
  EXPECT_NE(caches_of_thread::here()->find(id), nullptr);
  std::thread([&] { EXPECT_EQ(caches_of_thread::here()->find(id), nullptr); }).join();
}

// Made before the thread's first cache, so that it dies after the list of them.
TEST(live_pools_test, AThreadThatExitsHasNoneAndMayStillUseThePool) {
  concurrent_pool pool;
  std::thread([&] {
    struct at_exit {
      ~at_exit() {
        EXPECT_EQ(caches_of_thread::here(), nullptr);
        if (of != nullptr) of->acquire(100).release();
      }
      concurrent_pool* of = nullptr;
    };
    static thread_local at_exit last;
    last.of = &pool;
    pool.acquire(100).release();
  }).join();
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(pool.stats().acquired, 2U);
  EXPECT_EQ(pool.stats().threads, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(live_pools_test, APoolMayDieBeforeTheThreadsThatUsedIt) {
  std::optional<concurrent_pool> pool(std::in_place);
  pool->acquire(100).release();
  const std::uint64_t id = pool->core().id();
  pool.reset();
  EXPECT_FALSE(live_pools::of_process().has(id));
  concurrent_pool next;
  next.acquire(100).release();
  EXPECT_NE(caches_of_thread::here()->find(next.core().id()), nullptr);
}

// The calling thread's bin of a class that has blocks.
detail::bin& bin_of(concurrent_pool& pool, std::size_t size) {
  pool.acquire(size).release();
  const auto bins = caches_of_thread::here()->find(pool.core().id())->bins();
  return const_cast<detail::bin&>(bins[pool.size_classes().find(size)]);
}

TEST(live_pools_test, SaysOfAnOperationInDoubtWhetherItCameToPass) {
  if (!detail::heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  concurrent_pool other;
  concurrent_pool pool;
  bin_of(other, 100);
  detail::bin& changed = bin_of(pool, 100);
  ASSERT_NE(changed.depth(), 0U);
  EXPECT_TRUE(caches_of_thread::here()->came_to_pass(changed)) << "nobody reclaimed anything";
  std::thread([&] { pool.trim(); }).join();
  std::byte* block = nullptr;
  ASSERT_TRUE(changed.pop(block));  // by the bin as it was before
  EXPECT_FALSE(caches_of_thread::here()->came_to_pass(changed));
  EXPECT_TRUE(pool.check_invariants());
}

TEST(live_pools_test, SaysThatAnOperationOnAPoolThatIsGoneCameToPass) {
  std::optional<concurrent_pool> pool(std::in_place);
  const detail::bin& changed = bin_of(*pool, 100);
  pool.reset();
  EXPECT_TRUE(caches_of_thread::here()->came_to_pass(changed)) << "of which only the address is looked at";
}

TEST(live_pools_test, KnowsNothingAgainstABinThatIsNoThreads) {
  concurrent_pool pool;
  bin_of(pool, 100);
  const auto alone = std::make_unique<detail::bin>();
  EXPECT_TRUE(caches_of_thread::here()->came_to_pass(*alone));
}

}  // namespace
}  // namespace slabbuf
