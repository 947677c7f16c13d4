// SPDX-License-Identifier: MIT
// The laws of stats.hpp, and that each number counts what its name says.
#include <slabbuf/pool/stats.hpp>

#include "support/both_pools.hpp"
#include "support/counting_allocator.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

void expect_laws(const pool_stats& now) {
  EXPECT_EQ(now.acquired, now.released + now.in_use);
  EXPECT_EQ(now.acquired, now.hits + now.misses + now.oversize);
  EXPECT_EQ(now.bytes, now.in_use_bytes + now.cached_bytes);
  EXPECT_LE(now.bytes, now.bytes_high_water);
  EXPECT_LE(now.bytes_high_water, now.budget_bytes_max);
  pool_stats sum{};
  for (const class_stats& each : now.classes()) {
    EXPECT_EQ(each.acquired, each.released + each.in_use);
    EXPECT_EQ(each.acquired, each.hits + each.misses);
    sum.acquired += each.acquired;
    sum.released += each.released;
    sum.in_use += each.in_use;
    sum.in_use_bytes += each.in_use * each.size;
    sum.cached += each.cached;
    sum.cached_bytes += each.cached * each.size;
    sum.slabs += each.slabs;
  }
  EXPECT_EQ(now.acquired, sum.acquired + now.oversize);
  EXPECT_EQ(now.released, sum.released + now.oversize - now.oversize_in_use);
  EXPECT_EQ(now.in_use, sum.in_use + now.oversize_in_use);
  EXPECT_EQ(now.in_use_bytes, sum.in_use_bytes + now.oversize_bytes);
  EXPECT_EQ(now.cached, sum.cached);
  EXPECT_EQ(now.cached_bytes, sum.cached_bytes);
  EXPECT_EQ(now.slabs, sum.slabs);
}

template <class Pool>
class stats_test : public ::testing::Test {};
TYPED_TEST_SUITE(stats_test, support::both_pools, support::pool_name);

TYPED_TEST(stats_test, AFreshPoolHasDoneNothing) {
  const TypeParam pool(support::with_budget(5000));
  const pool_stats now = pool.stats();
  expect_laws(now);
  for (const std::uint64_t each : {now.acquired, now.released, now.refused, now.in_use, now.cached, now.slabs,
                                   now.slab_bytes, now.oversize, now.uncached, now.bytes, now.bytes_high_water}) {
    EXPECT_EQ(each, 0U);
  }
  EXPECT_EQ(now.budget_bytes_max, 5000U);
  ASSERT_EQ(now.classes().size(), pool.size_classes().count());
  for (std::size_t index = 0; index < now.class_count; ++index) {
    EXPECT_EQ(now.classes()[index].size, pool.size_classes().size_of(index));
  }
}

TYPED_TEST(stats_test, CountsOneBufferFromAcquireToReuse) {
  TypeParam pool;
  const std::size_t index = pool.size_classes().find(1000);
  buffer held = pool.acquire(1000);
  pool_stats now = pool.stats();
  expect_laws(now);
  EXPECT_EQ(now.acquired, 1U);
  EXPECT_EQ(now.misses, 1U);
  EXPECT_EQ(now.in_use, 1U);
  EXPECT_EQ(now.in_use_bytes, 1024U);
  EXPECT_EQ(now.slabs, 1U);
  EXPECT_GE(now.slab_bytes, 1024U);
  EXPECT_EQ(now.threads, 1U);
  EXPECT_EQ(now.classes()[index].in_use, 1U);

  held.release();
  now = pool.stats();
  expect_laws(now);
  EXPECT_EQ(now.released, 1U);
  EXPECT_EQ(now.in_use, 0U);
  EXPECT_GE(now.cached, 1U);

  held = pool.acquire(600);
  now = pool.stats();
  expect_laws(now);
  EXPECT_EQ(now.classes()[index].acquired, 2U);
  EXPECT_EQ(now.hits, 1U);
}

TYPED_TEST(stats_test, RawBuffersCountAlike) {
  TypeParam pool;
  const raw_buffer raw = pool.get_buffer(100);
  EXPECT_EQ(pool.stats().in_use, 1U);
  pool.put_buffer(raw);
  EXPECT_EQ(pool.stats().released, 1U);
  expect_laws(pool.stats());
}

TYPED_TEST(stats_test, TheHighWaterMarkStays) {
  TypeParam pool;
  pool.acquire(std::size_t{10} << 20).release();
  EXPECT_EQ(pool.stats().bytes, 0U);
  EXPECT_EQ(pool.stats().bytes_high_water, std::size_t{10} << 20);
}

TYPED_TEST(stats_test, TheLawsHoldUnderRandomUse) {
  support::seeded_random random(305);
  TypeParam pool(support::with_budget(std::size_t{8} << 20));
  std::vector<buffer> held;
  std::uint64_t acquired = 0;
  std::uint64_t refused = 0;
  for (int step = 0; step < 20000; ++step) {
    if (held.empty() || random.one_in(2)) {
      buffer got = pool.try_acquire(random.magnitude(22));
      ++(got ? acquired : refused);
      if (got) held.push_back(std::move(got));
    } else {
      std::swap(held[random.between(0, held.size() - 1)], held.back());
      held.pop_back();
    }
    if (random.one_in(1000)) pool.trim();
    if (!random.one_in(50)) continue;
    const pool_stats now = pool.stats();
    expect_laws(now);
    EXPECT_EQ(now.in_use, held.size());
    EXPECT_EQ(now.acquired, acquired);
    EXPECT_EQ(now.refused, refused);
    ASSERT_TRUE(pool.check_invariants());
    if (::testing::Test::HasFailure()) FAIL() << "step " << step;
  }
  EXPECT_GT(refused, 0U) << "the budget was never reached";
}

TYPED_TEST(stats_test, TakingThemAllocatesNothing) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc in place";
  TypeParam pool;
  const buffer held = pool.acquire(1000);
  const std::uint64_t before = support::heap_allocations_of_the_process();
  const pool_stats now = pool.stats();
  EXPECT_EQ(support::heap_allocations_of_the_process(), before);
  EXPECT_EQ(now.in_use, 1U);
}

}  // namespace
}  // namespace slabbuf
