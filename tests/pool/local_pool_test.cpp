// SPDX-License-Identifier: MIT
// What only the pool of one thread has; basic_pool_test.cpp holds the rest.
#include <slabbuf/pool/local_pool.hpp>

#include "support/both_pools.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

TEST(local_pool_test, HasOneCacheFromTheStart) {
  local_pool pool;
  EXPECT_EQ(pool.stats().threads, 1U);
  const buffer held = pool.acquire(1);
  EXPECT_EQ(pool.stats().threads, 1U);
  EXPECT_EQ(pool.stats().uncached, 0U);
}

TEST(local_pool_test, TheCapBoundsWhatIsCached) {
  for (const std::size_t cap : std::initializer_list<std::size_t>{0, 100, 5000, 100000}) {
    pool_options options;
    options.cache_bytes_max = cap;
    local_pool pool(options);
    std::vector<buffer> held;
    for (int count = 0; count < 1000; ++count) held.push_back(pool.acquire(static_cast<std::size_t>(count) * 3));
    held.clear();
    EXPECT_LE(pool.stats().cached_bytes, cap);
    EXPECT_TRUE(pool.check_invariants());
  }
}

TEST(local_pool_test, ABudgetBoundsTheCacheToASixteenth) {
  local_pool pool(support::with_budget(16 << 10));
  std::vector<buffer> held;
  for (int count = 0; count < 200; ++count) held.push_back(pool.acquire(64));
  held.clear();
  EXPECT_GT(pool.stats().cached_bytes, 0U);
  EXPECT_LE(pool.stats().cached_bytes, 1U << 10);
}

TEST(local_pool_test, AnyThreadMayUseItInTurn) {
  local_pool pool;
  buffer held = pool.acquire(100);
  std::thread([&] {
    held.release();
    held = pool.acquire(200);
  }).join();
  held.release();
  EXPECT_EQ(pool.stats().threads, 1U);
  EXPECT_EQ(pool.stats().acquired, 2U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(local_pool_test, ManyPoolsLiveSideBySide) {
  std::vector<std::unique_ptr<local_pool>> pools;
  std::vector<buffer> held;
  for (int count = 0; count < 50; ++count) {
    pools.push_back(std::make_unique<local_pool>());
    held.push_back(pools.back()->acquire(1000));
  }
  held.clear();
  for (const auto& each : pools) EXPECT_TRUE(each->check_invariants());
}

}  // namespace
}  // namespace slabbuf
