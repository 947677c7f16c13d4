// SPDX-License-Identifier: MIT
#include <slabbuf/net/read_size.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

namespace slabbuf::net {
namespace {

TEST(read_size_test, GrowsFourStepsWhenAReadFillsItsBlock) {
  read_size size(256, 2048, 65536);
  EXPECT_EQ(size.next(), 2048U);
  size.note(2048, 2048);
  EXPECT_EQ(size.next(), 32768U);
  size.note(32768, 32768);
  EXPECT_EQ(size.next(), 65536U);
  size.note(65536, 65536);
  EXPECT_EQ(size.next(), 65536U);
}

TEST(read_size_test, ShrinksOneStepAfterTwoSmallReadsInARow) {
  read_size size(256, 2048, 65536);
  size.note(100, 2048);
  EXPECT_EQ(size.next(), 2048U) << "one may be chance";
  size.note(1024, 2048);
  EXPECT_EQ(size.next(), 1024U);
  size.note(100, 1024);
  size.note(600, 1024);  // not small
  size.note(100, 1024);
  EXPECT_EQ(size.next(), 1024U);
  for (int count = 0; count < 20; ++count) size.note(1, size.next());
  EXPECT_EQ(size.next(), 256U);
}

TEST(read_size_test, ABlockThatTheBudgetCutShortSaysSomethingOnlyWhenItIsNotFilled) {
  read_size size(256, 4096, 65536);
  size.note(512, 512);
  EXPECT_EQ(size.next(), 4096U);
  size.note(500, 512);
  size.note(500, 512);
  EXPECT_EQ(size.next(), 2048U) << "there was no more";
}

TEST(read_size_test, PutsLimitsInOrder) {
  EXPECT_EQ(read_size(0, 0, 0).next(), 1U);
  EXPECT_EQ(read_size(100, 5, 50).next(), 100U);
  EXPECT_EQ(read_size(1, SIZE_MAX, SIZE_MAX).next(), std::size_t{1} << 30);
  read_size size(1, SIZE_MAX, SIZE_MAX);
  size.note(std::size_t{1} << 30, std::size_t{1} << 30);
  EXPECT_EQ(size.next(), std::size_t{1} << 30);
}

}  // namespace
}  // namespace slabbuf::net
