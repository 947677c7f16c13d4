// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/block_owner.hpp>

#include "support/both_pools.hpp"

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace slabbuf::detail {
namespace {

template <class Pool>
class block_owner_test : public ::testing::Test {
 protected:
  ~block_owner_test() override { EXPECT_EQ(pool_.stats().in_use, 0U); }

  static std::uint32_t count(const block_part& of) {
    slab* const in = page_map::find(of.block);
    return in->owners_of(in->index_of(of.block))->count;
  }

  Pool pool_;
};
TYPED_TEST_SUITE(block_owner_test, support::both_pools, support::pool_name);

TYPED_TEST(block_owner_test, TheOnlyOwnerCountsNothing) {
  const block_part tested = block_part::take(this->pool_.core(), 100);
  EXPECT_EQ(tested.capacity, 128U);
  EXPECT_EQ(tested.size(), 0U);
  EXPECT_EQ(tested.room().size(), 128U);
  EXPECT_EQ(&tested.pool(), &this->pool_.core());
  EXPECT_EQ(tested.home & tag_mask, this->pool_.core().shared() ? shared_tag : local_tag);
  EXPECT_TRUE(tested.is_alone());
  EXPECT_EQ(page_map::find(tested.block)->shared.load(), nullptr);
  tested.release();
}

TYPED_TEST(block_owner_test, OwnersAreCountedWhileThereAreSeveral) {
  block_part first = block_part::take(this->pool_.core(), 100);
  first.extend(10);
  EXPECT_EQ(first.written, 10U);
  const block_part second = first.share(2, 8);
  EXPECT_EQ(second.data(), first.data() + 2);
  EXPECT_EQ(second.size(), 8U);
  EXPECT_EQ(second.written, 0U) << "that is the first one's to say";
  EXPECT_EQ(this->count(first), 2U);
  const block_part third = first.share(0, 1);
  EXPECT_EQ(this->count(first), 3U);
  EXPECT_FALSE(first.is_alone());
  EXPECT_FALSE(first.settle());
  third.release();
  second.release();
  EXPECT_EQ(this->count(first), 1U);
  EXPECT_NE(first.home & joint_tag, 0U);
  EXPECT_TRUE(first.is_alone());
  EXPECT_TRUE(first.settle());
  EXPECT_EQ(this->count(first), 0U);
  EXPECT_EQ(first.home & joint_tag, 0U);
  EXPECT_EQ(first.written, 10U);
  first.release();
}

TYPED_TEST(block_owner_test, WhoStaysTakesOverWhatTheOthersWrote) {
  block_part first = block_part::take(this->pool_.core(), 100);
  block_part second = first.share(0, 0);
  block_part third = first.share(0, 0);
  second.written = 70;
  third.written = 30;
  second.release();
  third.release();
  EXPECT_TRUE(first.settle());
  EXPECT_EQ(first.written, 70U);
  const block_part fourth = first.share(0, 0);
  fourth.release();
  EXPECT_TRUE(first.settle());
  EXPECT_EQ(first.written, 70U);
  first.release();
}

TYPED_TEST(block_owner_test, ARefusalIsNullOrThrown) {
  TypeParam pool(support::with_budget(1024));
  const block_part all = block_part::take(pool.core(), 1024);
  EXPECT_EQ(block_part::try_take(pool.core(), 1).block, nullptr);
  EXPECT_THROW(block_part::take(pool.core(), 1), budget_exceeded);
  all.release();
}

TEST(throw_beyond_test, SaysTheNumbers) {
  try {
    throw_beyond("function", 5, 8, 10);
  } catch (const std::out_of_range& fault) {
    EXPECT_STREQ(fault.what(), "slabbuf::function: 8 bytes at 5 of 10");
  }
  EXPECT_THROW(throw_beyond("function", 11, 10), std::out_of_range);
}

}  // namespace
}  // namespace slabbuf::detail
