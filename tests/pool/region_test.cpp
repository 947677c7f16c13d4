// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/region.hpp>

#include "support/failing_page_source.hpp"
#include "support/high_page_source.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>

namespace slabbuf::detail {
namespace {

constexpr std::size_t region_bytes = region_set::region_bytes;

class region_test : public ::testing::Test {
 protected:
  region_set::run allocate(std::size_t granule_count = 1) { return regions_.allocate(granule_count * granule_bytes); }
  void free(region_set::run run, std::size_t granule_count = 1, bool resident = true) {
    regions_.free(run.base, granule_count * granule_bytes, resident);
  }

  support::failing_page_source pages_;
  region_set regions_{pages_};
};

TEST_F(region_test, RunsAreAlignedCleanAndApart) {
  std::set<std::byte*> bases;
  for (std::size_t index = 0; index < 2 * region_bytes / granule_bytes; ++index) {
    const region_set::run run = allocate();
    ASSERT_NE(run.base, nullptr);
    EXPECT_FALSE(run.resident);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(run.base) % granule_bytes, 0U);
    EXPECT_TRUE(bases.insert(run.base).second);
  }
  EXPECT_EQ(pages_.mapping_count(), 2U);
  EXPECT_EQ(regions_.mapped_bytes(), 2 * region_bytes);
  EXPECT_EQ(regions_.used_bytes(), 2 * region_bytes);
}

TEST_F(region_test, FreedRunsAreReusedAndSayWhetherTheyAreResident) {
  const region_set::run kept = allocate();
  const region_set::run first = allocate(2);
  free(first, 2, true);
  const region_set::run again = allocate(2);
  EXPECT_EQ(again.base, first.base);
  EXPECT_TRUE(again.resident);
  free(again, 2, false);
  EXPECT_FALSE(allocate(2).resident);
  EXPECT_NE(kept.base, first.base);
}

TEST_F(region_test, ARunIsResidentWhenAnyOfItsGranulesIs) {
  const region_set::run clean = allocate(3);
  free(clean, 3, false);
  const region_set::run first = allocate();
  const region_set::run second = allocate();
  free(first, 1, false);
  free(second, 1, true);
  const region_set::run both = allocate(2);
  EXPECT_EQ(both.base, first.base);
  EXPECT_TRUE(both.resident);
}

TEST_F(region_test, RunsOfOneRegionMerge) {
  constexpr std::size_t count = region_bytes / granule_bytes;
  region_set::run runs[count];
  for (region_set::run& each : runs) each = allocate();
  for (const region_set::run& each : runs) free(each);
  EXPECT_NE(allocate(count).base, nullptr);
  EXPECT_EQ(pages_.mapping_count(), 1U);
}

TEST_F(region_test, ALargeRunGetsARegionOfItsOwn) {
  constexpr std::size_t count = 3 * region_bytes / granule_bytes;
  const region_set::run large = allocate(count);
  ASSERT_NE(large.base, nullptr);
  EXPECT_EQ(pages_.mapped_bytes(), 3 * region_bytes);
  free(large, count);
  EXPECT_EQ(allocate(count).base, large.base);
}

// So that they can be reserved, whatever the size of a class.
TEST_F(region_test, ALargeRunLiesInWholeHugePages) {
  constexpr std::size_t count = region_bytes / granule_bytes + 1;
  ASSERT_NE(allocate(count).base, nullptr);
  EXPECT_EQ(pages_.mapped_bytes(), region_bytes + huge_page_bytes);
  EXPECT_NE(allocate().base, nullptr);
  EXPECT_EQ(pages_.mapping_count(), 1U) << "the rest is used as well";
}

TEST_F(region_test, PurgeUnmapsRegionsWithoutAUsedRun) {
  const region_set::run one = allocate();
  const region_set::run two = allocate(4);
  free(one, 1, true);
  free(two, 4, false);
  EXPECT_EQ(regions_.purge(), granule_bytes);
  pages_.expect_all_unmapped();
  EXPECT_EQ(regions_.mapped_bytes(), 0U);
  EXPECT_NE(allocate().base, nullptr);
}

TEST_F(region_test, PurgeMakesFreeRunsCleanAndLeavesUsedOnesAlone) {
  const region_set::run kept = allocate();
  const region_set::run freed = allocate(2);
  std::memset(kept.base, 0xaa, granule_bytes);
  std::memset(freed.base, 0xbb, 2 * granule_bytes);
  free(freed, 2);
  EXPECT_EQ(regions_.purge(), 2 * granule_bytes);
  EXPECT_EQ(regions_.purge(), 0U);
  EXPECT_EQ(kept.base[granule_bytes - 1], std::byte{0xaa});
  const region_set::run again = allocate(2);
  EXPECT_EQ(again.base, freed.base);
  EXPECT_FALSE(again.resident);
  EXPECT_EQ(again.base[2 * granule_bytes - 1], std::byte{0});
}

TEST_F(region_test, KnowsHowMuchPurgeWouldHandBack) {
  const region_set::run kept = allocate();
  const region_set::run first = allocate(2);
  const region_set::run second = allocate();
  EXPECT_EQ(regions_.idle_bytes(), 0U);
  free(first, 2, true);
  free(second, 1, false);
  EXPECT_EQ(regions_.idle_bytes(), 2 * granule_bytes);
  free(allocate(1));
  EXPECT_EQ(regions_.idle_bytes(), 2 * granule_bytes);
  EXPECT_EQ(regions_.purge(), 2 * granule_bytes);
  EXPECT_EQ(regions_.idle_bytes(), 0U);
  EXPECT_NE(kept.base, nullptr);
}

TEST_F(region_test, PurgeFindsEveryResidentRun) {
  region_set::run runs[9];
  for (region_set::run& each : runs) each = allocate();
  for (std::size_t index = 1; index < 9; index += 2) free(runs[index]);
  EXPECT_EQ(regions_.purge(), 4 * granule_bytes);
  EXPECT_EQ(pages_.purged_bytes(), 4 * granule_bytes);
}

TEST_F(region_test, WhatCouldNotBePurgedStaysResident) {
  const region_set::run kept = allocate();
  const region_set::run freed = allocate();
  free(freed);
  pages_.refuse_purge(true);
  EXPECT_EQ(regions_.purge(), 0U);
  EXPECT_TRUE(allocate().resident);
  EXPECT_NE(kept.base, nullptr);
}

TEST_F(region_test, TakesWhatItNeedsWhereAddressSpaceIsScarce) {
  pages_.refuse_maps_above(granule_bytes);
  const region_set::run small = allocate();
  EXPECT_NE(small.base, nullptr);
  EXPECT_EQ(pages_.mapped_bytes(), granule_bytes);
  EXPECT_EQ(allocate(2).base, nullptr);
  constexpr std::size_t large_count = region_bytes / granule_bytes + 1;
  pages_.refuse_maps_above(large_count * granule_bytes);
  EXPECT_NE(allocate(large_count).base, nullptr);
}

TEST_F(region_test, SaysNoWhenTheSystemDoes) {
  pages_.fail_maps_from(1);
  EXPECT_EQ(allocate().base, nullptr);
  EXPECT_EQ(regions_.mapped_bytes(), 0U);
  EXPECT_EQ(regions_.used_bytes(), 0U);
  pages_.stop_failing();
  EXPECT_NE(allocate().base, nullptr);
}

TEST(region_set_test, RefusesMemoryThePageMapCannotHold) {
  support::high_page_source pages;
  region_set regions(pages);
  EXPECT_EQ(regions.allocate(granule_bytes).base, nullptr);
  EXPECT_EQ(pages.mapping_count, 0);
}

}  // namespace
}  // namespace slabbuf::detail
