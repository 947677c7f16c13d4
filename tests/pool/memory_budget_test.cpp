// SPDX-License-Identifier: MIT
#include <slabbuf/pool/memory_budget.hpp>

#include <gtest/gtest.h>

#include <cstddef>

namespace slabbuf {
namespace {

TEST(memory_budget_test, ChargesUpToTheLastByteAndNoFurther) {
  memory_budget budget(100);
  EXPECT_TRUE(budget.try_charge(60));
  EXPECT_FALSE(budget.try_charge(41));
  EXPECT_EQ(budget.charged(), 60U);
  EXPECT_TRUE(budget.try_charge(40));
  EXPECT_FALSE(budget.try_charge(1));
  EXPECT_TRUE(budget.try_charge(0));
  EXPECT_EQ(budget.charged(), 100U);
}

TEST(memory_budget_test, RefundsMakeRoom) {
  memory_budget budget(100);
  EXPECT_TRUE(budget.try_charge(100));
  budget.refund(30);
  EXPECT_EQ(budget.charged(), 70U);
  EXPECT_TRUE(budget.try_charge(30));
  EXPECT_FALSE(budget.try_charge(1));
}

TEST(memory_budget_test, RemembersTheMostThatWasCharged) {
  memory_budget budget(100);
  EXPECT_TRUE(budget.try_charge(80));
  budget.refund(80);
  EXPECT_TRUE(budget.try_charge(10));
  EXPECT_FALSE(budget.try_charge(95));
  EXPECT_EQ(budget.charged_high_water(), 80U);
}

TEST(memory_budget_test, HugeRequestsDoNotWrapAround) {
  memory_budget budget(100);
  EXPECT_TRUE(budget.try_charge(50));
  EXPECT_FALSE(budget.try_charge(SIZE_MAX));
  EXPECT_FALSE(budget.try_charge(SIZE_MAX - 49));
  EXPECT_EQ(budget.charged(), 50U);

  memory_budget unlimited(memory_budget::unlimited);
  EXPECT_TRUE(unlimited.try_charge(SIZE_MAX / 2));
  EXPECT_TRUE(unlimited.try_charge(SIZE_MAX / 2));
  EXPECT_FALSE(unlimited.try_charge(SIZE_MAX / 2));
}

TEST(memory_budget_test, ABudgetOfNothingGivesNothing) {
  memory_budget budget(0);
  EXPECT_FALSE(budget.try_charge(1));
  EXPECT_EQ(budget.charged_high_water(), 0U);
}

}  // namespace
}  // namespace slabbuf
