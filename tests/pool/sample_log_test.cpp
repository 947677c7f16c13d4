// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/sample_log.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

namespace slabbuf::detail {
namespace {

const void* address(std::size_t index) { return reinterpret_cast<const void*>((index + 1) * 4096); }

TEST(sample_log_test, RemembersWhoHoldsABlockSinceWhenAndForHowMuch) {
  sample_log log(1);
  const auto before = std::chrono::steady_clock::now();
  std::thread([&] { log.add(address(0), 100, 128); }).join();
  log.add(address(1), 200, 256);
  const auto after = std::chrono::steady_clock::now();

  const std::vector<provenance> held = log.holders();
  ASSERT_EQ(held.size(), 2U);
  EXPECT_EQ(held[0].data, address(0)) << "the longest held first";
  EXPECT_EQ(held[0].size, 100U);
  EXPECT_EQ(held[0].class_size, 128U);
  EXPECT_EQ(held[1].data, address(1));
  EXPECT_NE(held[0].thread, held[1].thread);
  EXPECT_LE(before, held[0].since);
  EXPECT_LE(held[0].since, held[1].since);
  EXPECT_LE(held[1].since, after);
  EXPECT_GT(held[1].calls().size(), 1U);
  provenance oldest;
  EXPECT_TRUE(log.oldest(oldest));
  EXPECT_EQ(oldest.data, address(0));
}

TEST(sample_log_test, ABlockThatCameBackIsHeldByNobodyButNotForgotten) {
  sample_log log(1);
  log.add(address(0), 100, 128);
  log.returned(address(7));
  EXPECT_EQ(log.holders().size(), 1U);
  log.returned(address(0));
  log.returned(address(0));
  EXPECT_TRUE(log.holders().empty());
  provenance last;
  EXPECT_FALSE(log.oldest(last));
  ASSERT_TRUE(log.find(address(0), last));
  EXPECT_EQ(last.size, 100U);
  EXPECT_FALSE(log.find(address(1), last));
}

TEST(sample_log_test, StampsABlockAnewAtEveryCheckout) {
  sample_log log(1);
  log.add(address(0), 100, 128);
  log.returned(address(0));
  log.add(address(0), 50, 128);
  ASSERT_EQ(log.holders().size(), 1U);
  EXPECT_EQ(log.holders()[0].size, 50U);
}

TEST(sample_log_test, CountsTheSamplesForWhichThereIsNoPlace) {
  sample_log log(1);
  constexpr std::size_t many = 10'000;
  for (std::size_t index = 0; index < many; ++index) log.add(address(index), 1, 2);
  EXPECT_GT(log.dropped(), 0U);
  EXPECT_EQ(log.holders().size() + log.dropped(), many);
  EXPECT_GT(log.holders().size(), 4000U) << "almost every record is used before one is dropped";

  for (std::size_t index = 0; index < many; ++index) log.returned(address(index));
  EXPECT_TRUE(log.holders().empty());
  const std::uint64_t dropped = log.dropped();
  log.add(address(many), 1, 2);
  EXPECT_EQ(log.dropped(), dropped) << "records of buffers that came back make room";
  provenance last;
  EXPECT_TRUE(log.find(address(many), last));
}

TEST(sample_log_test, EachSampleCountsForThePeriod) {
  sample_log log(100);
  log.add(address(0), 64, 64);
  log.add(address(1), 64, 64);
  log.add(address(2), 0, 2);
  const auto sizes = log.sizes();
  ASSERT_EQ(sizes.size(), 2U);
  EXPECT_EQ(sizes[0].size, 1U) << "no table has a class for nothing";
  EXPECT_EQ(sizes[0].count, 100U);
  EXPECT_EQ(sizes[1].size, 64U);
  EXPECT_EQ(sizes[1].count, 200U);
}

TEST(sample_log_test, ABucketOfSizesIsNamedByItsLargestAndIsNarrow) {
  for (std::size_t size = 1; size < (std::size_t{1} << 31); size += 1 + size / 3) {
    sample_log log(1);
    log.add(address(0), size, size);
    log.add(address(1), size + size / 40, size);
    std::size_t largest = 0;
    for (const auto& each : log.sizes()) {
      EXPECT_GE(each.size, size);
      largest = each.size;
    }
    EXPECT_EQ(largest, size + size / 40);
    sample_log wide(1);
    wide.add(address(0), size, size);
    wide.add(address(1), size + size / 8 + 1, size);
    EXPECT_EQ(wide.sizes().size(), 2U) << size;
  }
}

}  // namespace
}  // namespace slabbuf::detail
