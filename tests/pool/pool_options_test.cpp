// SPDX-License-Identifier: MIT
#include <slabbuf/pool/pool_options.hpp>

#include "support/both_pools.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

TEST(pool_options_test, DefaultsAreTheDocumentedOnes) {
  const pool_options options;
  EXPECT_EQ(options.size_classes.largest(), std::size_t{1} << 20);
  EXPECT_EQ(options.zero, zeroing::dirty_extent);
  EXPECT_EQ(options.budget_bytes_max, memory_budget::unlimited);
  EXPECT_EQ(options.cache_bytes_max, std::size_t{2} << 20);
  EXPECT_EQ(options.block_alignment, 64U);
  EXPECT_EQ(options.pages, nullptr);
  EXPECT_EQ(options.backing, page_backing{});
  EXPECT_EQ(options.backing.huge, huge_pages::system_default);
  EXPECT_FALSE(options.backing.prefault);
  EXPECT_EQ(options.backing.numa_node, -1);
}

template <class Pool>
class pool_options_backing_test : public ::testing::Test {};
TYPED_TEST_SUITE(pool_options_backing_test, support::both_pools, support::pool_name);

TYPED_TEST(pool_options_backing_test, APageSourceHasABackingOfItsOwn) {
  system_page_source pages({.prefault = true});
  pool_options options = support::with_pages(pages);
  options.backing.prefault = true;
  EXPECT_THROW(TypeParam{options}, std::invalid_argument);
  options.backing = {};
  EXPECT_NO_THROW(TypeParam{options});
}

TYPED_TEST(pool_options_backing_test, BlocksAreAlignedAsItIsTold) {
  for (const std::size_t alignment : {16U, 32U, 64U}) {
    pool_options options;
    options.size_classes = size_class_table({40, 80, 176, 4096});
    options.block_alignment = alignment;
    TypeParam pool(options);
    std::vector<buffer> held;
    for (int count = 0; count < 200; ++count) {
      for (const std::size_t size : {80U, 176U, 4096U}) {
        held.push_back(pool.acquire(size));
        const auto address = reinterpret_cast<std::uintptr_t>(std::as_const(held.back()).data());
        ASSERT_EQ(address % alignment, 0U) << size;
        ASSERT_TRUE(size != 4096 || address % 4096 == 0);
      }
    }
    EXPECT_TRUE(pool.check_invariants());
  }
  for (const std::size_t wrong : {0U, 8U, 24U, 128U}) {
    pool_options options;
    options.block_alignment = wrong;
    EXPECT_THROW(TypeParam{options}, std::invalid_argument) << wrong;
  }
}

TYPED_TEST(pool_options_backing_test, RefusesWhatIsNoNode) {
  for (const int node : {-2, 1024}) {
    pool_options options;
    options.backing.numa_node = node;
    EXPECT_THROW(TypeParam{options}, std::invalid_argument) << node;
  }
}

// Its own source is made for the options and dies with the pool, blocks in every state.
TYPED_TEST(pool_options_backing_test, APoolBacksItsMemoryAsItIsTold) {
  pool_options options;
  options.backing.numa_node = 1023;  // no machine has it: every mapping is counted
  TypeParam pool(options);
  EXPECT_EQ(pool.stats().backing_refused, 0U);
  buffer block = pool.acquire(100);
  EXPECT_EQ(pool.stats().backing_refused, 1U) << "the region";
  const buffer oversize = pool.acquire(pool.size_classes().largest() + 1);
  EXPECT_EQ(pool.stats().backing_refused, 2U) << "and the pages of the oversize buffer";
  block.data()[99] = std::byte{1};
  block.release();
  EXPECT_EQ(pool.stats().refused, 0U) << "the memory is there";
  EXPECT_TRUE(pool.check_invariants());
  pool.trim();
}

TYPED_TEST(pool_options_backing_test, NothingIsRefusedWhereNothingIsAskedFor) {
  TypeParam pool;
  pool.acquire(100).release();
  EXPECT_EQ(pool.stats().backing_refused, 0U);
}

TEST(pool_options_test, AFailureSaysWhatWasAskedForAndWhy) {
  const acquire_failed failure("is refused by", 4097, 512);
  EXPECT_EQ(failure.requested_bytes(), 4097U);
  EXPECT_EQ(failure.limit_bytes(), 512U);
  EXPECT_STREQ(failure.what(), "slabbuf: a buffer of 4097 bytes is refused by 512 bytes");
}

TEST(pool_options_test, AFailureWithoutALimitNamesNone) {
  const acquire_failed failure("cannot be had", 10, 0);
  EXPECT_STREQ(failure.what(), "slabbuf: a buffer of 10 bytes cannot be had");
}

TEST(pool_options_test, AnExceededBudgetNamesBothSizes) {
  const budget_exceeded failure(123456, 4096);
  const std::string text = failure.what();
  EXPECT_NE(text.find("123456"), std::string::npos);
  EXPECT_NE(text.find("4096"), std::string::npos);
}

TEST(pool_options_test, AnExceededBudgetSaysHowMuchOfItIsTaken) {
  EXPECT_STREQ(budget_exceeded(1234, 8192, 8000).what(),
               "slabbuf: a buffer of 1234 bytes finds no room in the budget of 8192 bytes, of which 8000 are taken");
}

TEST(pool_options_test, TheLongestTextIsNotCutOff) {
  const std::string text = budget_exceeded(SIZE_MAX, SIZE_MAX - 1).what();
  EXPECT_TRUE(text.ends_with(std::to_string(SIZE_MAX - 1) + " bytes")) << text;
  const std::string longer = budget_exceeded(SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 2).what();
  EXPECT_TRUE(longer.ends_with(std::to_string(SIZE_MAX - 2) + " are taken")) << longer;
}

TEST(pool_options_test, FailuresAreBadAllocAndCopyWithoutThrowing) {
  static_assert(std::is_base_of_v<std::bad_alloc, acquire_failed>);
  static_assert(std::is_base_of_v<acquire_failed, budget_exceeded>);
  static_assert(std::is_nothrow_copy_constructible_v<budget_exceeded>);
  const budget_exceeded failure(1, 2);
  const budget_exceeded copy = failure;
  EXPECT_STREQ(copy.what(), failure.what());
}

}  // namespace
}  // namespace slabbuf
