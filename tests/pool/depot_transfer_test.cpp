// SPDX-License-Identifier: MIT
// Batches that wait for the next taker beside their slabs: what is taken first, how much there is, and when it goes
// back into the slabs.
#include <slabbuf/pool/detail/depot.hpp>

#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

namespace slabbuf::detail {
namespace {

constexpr std::size_t block_bytes = 4096;
constexpr std::size_t span_bytes = std::size_t{64} << 10;
constexpr std::uint32_t blocks_per_slab = span_bytes / block_bytes;

using blocks = std::vector<std::byte*>;

class depot_transfer_test : public ::testing::TestWithParam<bool> {
 protected:
  blocks take(depot& from, std::uint32_t count) {
    blocks taken(count);
    taken.resize(from.take(0, taken.data(), count).count);
    return taken;
  }
  static void put(depot& to, const blocks& given, bool lay_idle = false) {
    to.put(0, given.data(), static_cast<std::uint32_t>(given.size()), lay_idle);
  }
  depot make(std::size_t budget_bytes_max, std::size_t transfer_bytes_max) {
    return depot(pages_, budget_bytes_max, classes_.get(), 1, GetParam(), {.transfer_bytes_max = transfer_bytes_max});
  }
  static std::unique_ptr<bin[]> make_classes() {
    auto classes = std::make_unique<bin[]>(2);
    classes[0].of.size = block_bytes;
    classes[1].of.index = 1;
    return classes;
  }

  support::failing_page_source pages_;
  const std::unique_ptr<bin[]> classes_ = make_classes();
};

INSTANTIATE_TEST_SUITE_P(each, depot_transfer_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "shared" : "unshared"; });

TEST_P(depot_transfer_test, ABatchThatComesIsTheNextThatGoes) {
  depot tested = make(memory_budget::unlimited, 16 * block_bytes);
  const blocks first = take(tested, 8);
  const blocks second = take(tested, 8);
  put(tested, first);
  put(tested, second);
  EXPECT_EQ(tested.blocks_out(0), 0U);
  EXPECT_EQ(tested.budget().charged(), 0U) << "they are in nobody's hands";
  EXPECT_TRUE(tested.check_invariants());
  EXPECT_EQ(take(tested, 8), second);
  EXPECT_EQ(take(tested, 8), first);
  put(tested, first);
  put(tested, second);
}

TEST_P(depot_transfer_test, WhatHasNoRoomGoesIntoItsSlabAndTheNewestStay) {
  depot tested = make(memory_budget::unlimited, 4 * block_bytes);
  const blocks all = take(tested, 10);
  put(tested, all);
  EXPECT_TRUE(tested.check_invariants());
  EXPECT_EQ(take(tested, 4), blocks(all.end() - 4, all.end()));
  // The others are still whole, each once.
  const blocks others = take(tested, 6);
  std::set<std::byte*> distinct(others.begin(), others.end());
  distinct.insert(all.end() - 4, all.end());
  EXPECT_EQ(distinct, std::set<std::byte*>(all.begin(), all.end()));
  put(tested, others);
  put(tested, blocks(all.end() - 4, all.end()));
}

TEST_P(depot_transfer_test, ABatchMayComeFromBoth) {
  depot tested = make(memory_budget::unlimited, 4 * block_bytes);
  put(tested, take(tested, 2));
  const blocks mixed = take(tested, 5);
  EXPECT_EQ(std::set<std::byte*>(mixed.begin(), mixed.end()).size(), 5U);
  EXPECT_EQ(tested.blocks_out(0), 5U);
  EXPECT_TRUE(tested.check_invariants());
  put(tested, mixed);
}

TEST_P(depot_transfer_test, TrimPutsEveryBlockIntoItsSlab) {
  depot tested = make(memory_budget::unlimited, 64 * block_bytes);
  put(tested, take(tested, 4 * blocks_per_slab));
  EXPECT_EQ(tested.slab_count(0), 4U);
  tested.trim();
  EXPECT_EQ(tested.slab_count(0), 0U);
  EXPECT_TRUE(tested.check_invariants());
}

TEST_P(depot_transfer_test, WhatNoPeriodNeededGoesAndTheRestStays) {
  depot tested = make(memory_budget::unlimited, 64 * block_bytes);
  put(tested, take(tested, 64));
  tested.trim(true);  // a period begins
  for (int period = 0; period < 3; ++period) {
    put(tested, take(tested, 16));
    tested.trim(true);
    EXPECT_TRUE(tested.check_invariants());
  }
  EXPECT_GE(tested.slab_count(0), 1U);
  EXPECT_LE(tested.slab_count(0), 2U) << "16 blocks are a slab";
  tested.trim(true);
  tested.trim(true);
  tested.trim(true);
  EXPECT_EQ(tested.slab_count(0), 0U) << "nothing was needed";
}

TEST_P(depot_transfer_test, WhatLayIdleGoesIntoItsSlab) {
  depot tested = make(memory_budget::unlimited, 64 * block_bytes);
  const blocks all = take(tested, blocks_per_slab);
  put(tested, all, true);
  tested.trim(true);
  tested.trim(true);
  EXPECT_EQ(tested.slab_count(0), 0U);
}

// Half of the budget in slabs: memory is short, and every free block shall be where others can have its pages.
TEST_P(depot_transfer_test, NothingWaitsWhereMemoryIsShort) {
  depot tested = make(4 * span_bytes, 64 * block_bytes);
  const blocks all = take(tested, 3 * blocks_per_slab);
  ASSERT_EQ(tested.slab_count(0), 3U);
  put(tested, all);
  EXPECT_EQ(tested.slab_count(0), 1U) << "all are in their slabs, of which one empty one is kept";
  EXPECT_TRUE(tested.check_invariants());
  tested.trim();
  EXPECT_EQ(tested.slab_count(0), 0U);
}

TEST_P(depot_transfer_test, CountsAgreeWhateverComesAndGoes) {
  support::seeded_random random(3);
  depot tested = make(256 * block_bytes, 40 * block_bytes);
  blocks out;
  for (int step = 0; step < 3000; ++step) {
    if (random.one_in(2)) {
      const blocks got = take(tested, static_cast<std::uint32_t>(random.between(1, 60)));
      out.insert(out.end(), got.begin(), got.end());
    } else if (!out.empty()) {
      const std::size_t count = random.between(1, std::min<std::size_t>(out.size(), 60));
      put(tested, blocks(out.end() - static_cast<std::ptrdiff_t>(count), out.end()), random.one_in(4));
      out.resize(out.size() - count);
    }
    if (random.one_in(50)) tested.trim(random.one_in(2));
    ASSERT_EQ(std::set<std::byte*>(out.begin(), out.end()).size(), out.size());
    ASSERT_EQ(tested.blocks_out(0), out.size());
    ASSERT_TRUE(tested.check_invariants()) << step;
  }
  if (!out.empty()) put(tested, out);
}

}  // namespace
}  // namespace slabbuf::detail
