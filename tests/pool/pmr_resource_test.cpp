// SPDX-License-Identifier: MIT
#include <slabbuf/pool/pmr_resource.hpp>

#include "support/both_pools.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

template <class Pool>
class pmr_resource_test : public ::testing::Test {};
TYPED_TEST_SUITE(pmr_resource_test, support::both_pools, support::pool_name);

TYPED_TEST(pmr_resource_test, ServesContainers) {
  TypeParam pool;
  {
    pmr_resource memory(pool);
    std::pmr::vector<std::pmr::string> words(&memory);
    for (int count = 0; count < 1000; ++count) words.emplace_back(std::string(static_cast<std::size_t>(count), 'x'));
    std::pmr::map<int, std::pmr::vector<int>> nested(&memory);
    for (int count = 0; count < 100; ++count) nested[count].assign(1000, count);
    EXPECT_EQ(words[999].size(), 999U);
    EXPECT_EQ(nested.at(50).back(), 50);
    EXPECT_EQ(nested.at(50).get_allocator().resource(), &memory);
    EXPECT_GT(pool.stats().in_use, 1000U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(pmr_resource_test, HonoursEveryAlignmentWhateverTheClasses) {
  for (const size_class_table& table : {size_class_table(), size_class_table{3, 7, 100, 1000, 17408}}) {
    pool_options options;
    options.size_classes = table;
    TypeParam pool(options);
    pmr_resource memory(pool);
    for (std::size_t alignment = 1; alignment <= pmr_resource::alignment_max; alignment *= 2) {
      for (const std::size_t bytes : {0U, 1U, 3U, 63U, 64U, 100U, 5000U, 20000U, 3'000'000U}) {
        void* const got = memory.allocate(bytes, alignment);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got) % alignment, 0U) << bytes << " at " << alignment;
        std::memset(got, 0xa5, bytes);
        memory.deallocate(got, bytes, alignment);
      }
    }
    EXPECT_EQ(pool.stats().in_use, 0U);
    EXPECT_TRUE(pool.check_invariants());
  }
}

TYPED_TEST(pmr_resource_test, RefusesAlignmentsNoPageHas) {
  TypeParam pool;
  pmr_resource memory(pool);
  EXPECT_THROW(static_cast<void>(memory.allocate(1, 2 * pmr_resource::alignment_max)), std::bad_alloc);
  EXPECT_EQ(pool.stats().acquired, 0U);
}

TYPED_TEST(pmr_resource_test, CountsAgainstTheBudget) {
  TypeParam pool(support::with_budget(4096));
  pmr_resource memory(pool);
  void* const all = memory.allocate(4096);
  EXPECT_THROW(static_cast<void>(memory.allocate(1)), budget_exceeded);
  memory.deallocate(all, 4096);
}

TYPED_TEST(pmr_resource_test, LeavesNothingForTheNextOwnerToSee) {
  TypeParam pool;
  pmr_resource memory(pool);
  support::seeded_random random(401);
  for (int round = 0; round < 1000; ++round) {
    const std::size_t bytes = random.magnitude(14);
    void* const got = memory.allocate(bytes);
    std::memset(got, 0xa5, bytes);
    memory.deallocate(got, bytes);
    buffer next = pool.acquire(bytes);
    const std::span<const std::byte> all = next.prepare();
    ASSERT_TRUE(std::all_of(all.begin(), all.end(), [](std::byte each) { return each == std::byte{0}; })) << bytes;
    next.commit(0);
  }
}

TYPED_TEST(pmr_resource_test, IsEqualToAnotherOverTheSamePool) {
  TypeParam pool;
  TypeParam other_pool;
  const pmr_resource memory(pool);
  const pmr_resource same(pool);
  const pmr_resource other(other_pool);
  EXPECT_TRUE(memory.is_equal(same));
  EXPECT_FALSE(memory.is_equal(other));
  EXPECT_FALSE(memory.is_equal(*std::pmr::new_delete_resource()));
}

TEST(pmr_resource_thread_test, GivesBackOnAnotherThread) {
  concurrent_pool pool;
  pmr_resource memory(pool);
  auto moved = std::make_unique<std::pmr::vector<int>>(1000, &memory);
  std::thread([&] { moved.reset(); }).join();
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(pmr_resource_death_test, ReportsMemoryThatIsNoPools) {
  local_pool pool;
  pmr_resource memory(pool);
  int on_stack = 0;
  EXPECT_DEATH(memory.deallocate(&on_stack, sizeof on_stack), "slabbuf: foreign_pointer");
}

// Its slab never sees it twice: the block goes out of the cache twice, and comes back by two owners.
TEST(pmr_resource_death_test, ReportsMemoryGivenBackTwiceWhenThePoolEnds) {
  const auto twice = [] {
    local_pool pool;
    pmr_resource memory(pool);
    void* const block = memory.allocate(100);
    memory.deallocate(block, 100);
    memory.deallocate(block, 100);
    const buffer one = pool.acquire(100);
    const buffer other = pool.acquire(100);
  };
  // AddressSanitizer sees the second time at once.
  EXPECT_DEATH(twice(), "slabbuf: double_put|AddressSanitizer: use-after-poison");
}

}  // namespace
}  // namespace slabbuf
