// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/depot.hpp>

#include "support/failing_page_source.hpp"
#include "support/high_page_source.hpp"
#include "support/seeded_random.hpp"

#include <slabbuf/pool/detail/page_map.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace slabbuf::detail {
namespace {

// Small blocks, blocks of a quarter of a slab, blocks that are a slab each.
constexpr std::size_t sizes[] = {64, 16 << 10, 1 << 20};
constexpr std::uint32_t small = 0;
constexpr std::uint32_t medium = 1;
constexpr std::uint32_t large = 2;
constexpr std::uint32_t oversize = 3;

using blocks = std::vector<std::byte*>;

class depot_test : public ::testing::TestWithParam<bool> {
 protected:
  explicit depot_test(std::size_t budget_bytes_max = memory_budget::unlimited)
      : depot_(pages_, budget_bytes_max, classes_.get(), std::size(sizes), GetParam()) {}

  blocks take(std::uint32_t index, std::uint32_t count) {
    blocks taken(count);
    const depot::batch got = depot_.take(index, taken.data(), count);
    EXPECT_EQ(got.why == refusal::none, got.count != 0);
    taken.resize(got.count);
    return taken;
  }

  // One by one, so that the count is exact whatever fits in a slab.
  blocks take_slabs(std::uint32_t index, std::uint64_t slab_count) {
    blocks taken;
    while (depot_.slab_count(index) < slab_count) taken.push_back(take(index, 1).front());
    return taken;
  }

  void put(std::uint32_t index, const blocks& given) {
    depot_.put(index, given.data(), static_cast<std::uint32_t>(given.size()));
  }

  static std::unique_ptr<bin[]> make_classes() {
    auto classes = std::make_unique<bin[]>(oversize + 1);
    for (std::uint32_t index = 0; index <= oversize; ++index) {
      classes[index].of.index = index;
      classes[index].of.size = index == oversize ? 0 : sizes[index];
    }
    return classes;
  }

  support::failing_page_source pages_;
  const std::unique_ptr<bin[]> classes_ = make_classes();
  depot depot_;
};

INSTANTIATE_TEST_SUITE_P(each, depot_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "shared" : "unshared"; });

TEST_P(depot_test, CountsWhatIsOutAndChargesIt) {
  const blocks first = take(small, 100);
  const blocks second = take(large, 2);
  EXPECT_EQ(depot_.blocks_out(small), 100U);
  EXPECT_EQ(depot_.blocks_out(large), 2U);
  EXPECT_EQ(depot_.budget().charged(), 100 * sizes[small] + 2 * sizes[large]);
  EXPECT_TRUE(depot_.check_invariants());
  put(small, first);
  put(large, second);
  EXPECT_EQ(depot_.budget().charged(), 0U);
  EXPECT_TRUE(depot_.check_invariants());
}

TEST_P(depot_test, BlocksKnowTheirSlabAndClass) {
  const blocks taken = take(medium, 3);
  for (std::byte* const block : taken) {
    const slab* const of = page_map::find(block);
    ASSERT_NE(of, nullptr);
    EXPECT_EQ(of->owner, &classes_[medium].of);
    EXPECT_NE(of->index_of(block), of->block_count);
  }
  put(medium, taken);
}

TEST_P(depot_test, ABatchMaySpanSlabs) {
  const blocks taken = take(medium, 50);
  EXPECT_EQ(taken.size(), 50U);
  EXPECT_GT(depot_.slab_count(medium), 1U);
  EXPECT_TRUE(depot_.check_invariants());
  put(medium, taken);
}

TEST_P(depot_test, KeepsOneEmptySlabAClassAndRetiresTheRest) {
  const blocks taken = take_slabs(medium, 4);
  EXPECT_EQ(depot_.slab_bytes(), 4 * slab_geometry::of(sizes[medium]).span_bytes);
  put(medium, taken);
  EXPECT_EQ(depot_.slab_count(medium), 1U);
  EXPECT_EQ(depot_.slab_bytes(), slab_geometry::of(sizes[medium]).span_bytes);
  EXPECT_TRUE(depot_.check_invariants());
}

TEST_P(depot_test, RetiredSlabsServeOtherClasses) {
  put(large, take(large, 8));
  const std::size_t mapped_bytes = pages_.mapped_bytes();
  put(medium, take(medium, 100));
  EXPECT_EQ(pages_.mapped_bytes(), mapped_bytes);
}

TEST_P(depot_test, RetiredSlabsAreForgottenByThePageMap) {
  const blocks taken = take(large, 2);
  put(large, taken);
  EXPECT_NE(page_map::find(taken[0]) == nullptr, page_map::find(taken[1]) == nullptr);
}

TEST_P(depot_test, MemoryInNoSlabGoesBackBeforeThereIsMoreThanTheBudget) {
  constexpr std::size_t budget = 4 << 20;
  depot tested(pages_, budget, classes_.get(), std::size(sizes), GetParam());
  blocks held(4);
  ASSERT_EQ(tested.take(large, held.data(), 4).count, 4U);
  tested.put(large, held.data(), 4);  // three slabs are retired, their memory is still there
  EXPECT_EQ(pages_.purged_bytes(), 0U);
  std::byte* one = nullptr;
  ASSERT_EQ(tested.take(medium, &one, 1).count, 1U);
  EXPECT_EQ(pages_.purged_bytes(), 3 * sizes[large]);
  tested.put(medium, &one, 1);
  EXPECT_TRUE(tested.check_invariants());
}

TEST_P(depot_test, TrimGivesEverythingBackWhenNothingIsOut) {
  put(small, take(small, 1000));
  put(large, take(large, 1));
  EXPECT_GE(depot_.trim(), sizes[large]);
  pages_.expect_all_unmapped();
  EXPECT_EQ(depot_.slab_bytes(), 0U);
  EXPECT_TRUE(depot_.check_invariants());
  put(small, take(small, 1));
}

TEST_P(depot_test, TrimKeepsWhatIsOut) {
  blocks taken = take(medium, 2);
  std::memset(taken[0], 0xee, sizes[medium]);
  std::memset(taken[1], 0xee, sizes[medium]);
  put(medium, {taken[0]});
  EXPECT_EQ(depot_.trim(), sizes[medium]);
  EXPECT_EQ(taken[1][sizes[medium] - 1], std::byte{0xee});
  taken[0] = take(medium, 1).front();
  EXPECT_EQ(*taken[0], std::byte{0});
  put(medium, taken);
  EXPECT_TRUE(depot_.check_invariants());
}

TEST_P(depot_test, OversizeBlocksAreMappedAndUnmapped) {
  const std::size_t size = sizes[large] + 1;
  const depot::oversize_block made = depot_.take_oversize(size, &classes_[oversize].of);
  ASSERT_NE(made.data, nullptr);
  EXPECT_EQ(depot_.budget().charged(), sizes[large] + page_size());
  EXPECT_EQ(pages_.mapped_bytes(), sizes[large] + page_size());
  EXPECT_EQ(made.data[size - 1], std::byte{0});
  slab* const record = page_map::find(made.data + size - 1);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record, page_map::find(made.data));
  EXPECT_EQ(record->owner, &classes_[oversize].of);
  EXPECT_EQ(depot_.oversize().in_use, 1U);
  EXPECT_EQ(depot_.oversize().in_use_bytes, sizes[large] + page_size());
  EXPECT_TRUE(depot_.check_invariants());

  depot_.put_oversize(record);
  EXPECT_EQ(page_map::find(made.data), nullptr);
  EXPECT_EQ(depot_.oversize().acquired, 1U);
  EXPECT_EQ(depot_.oversize().in_use, 0U);
  EXPECT_EQ(depot_.budget().charged(), 0U);
  pages_.expect_all_unmapped();
}

TEST_P(depot_test, RefusedMemoryChargesNothing) {
  pages_.fail_maps_from(1);
  std::byte* block;
  EXPECT_EQ(depot_.take(large, &block, 1).why, refusal::memory);
  EXPECT_EQ(depot_.take_oversize(sizes[large] + 1, &classes_[oversize].of).why, refusal::memory);
  EXPECT_EQ(depot_.budget().charged(), 0U);
  EXPECT_TRUE(depot_.check_invariants());
  pages_.stop_failing();
  put(large, take(large, 1));
}

TEST_P(depot_test, ABatchIsAsLargeAsTheMemoryThereIs) {
  const blocks filling = take(large, 16);  // one region
  put(large, {filling.back()});
  pages_.fail_maps_from(1);
  const blocks rest = take(large, 5);
  EXPECT_EQ(rest.size(), 1U);
  EXPECT_EQ(depot_.budget().charged(), 16 * sizes[large]);
  put(large, rest);
  put(large, blocks(filling.begin(), filling.end() - 1));
  EXPECT_TRUE(depot_.check_invariants());
}

class depot_with_budget_test : public depot_test {
 protected:
  depot_with_budget_test() : depot_test(10 * sizes[small]) {}
};

INSTANTIATE_TEST_SUITE_P(each, depot_with_budget_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "shared" : "unshared"; });

TEST_P(depot_with_budget_test, GivesOneBlockWhereTheBudgetHasNoRoomForTheBatch) {
  const blocks first = take(small, 8);
  EXPECT_EQ(first.size(), 8U);
  const blocks second = take(small, 8);
  EXPECT_EQ(second.size(), 1U);
  const blocks third = take(small, 8);
  EXPECT_EQ(third.size(), 1U);
  std::byte* none;
  EXPECT_EQ(depot_.take(small, &none, 1).why, refusal::budget);
  EXPECT_EQ(depot_.take(small, &none, 1).count, 0U);
  for (const blocks& each : {first, second, third}) put(small, each);
  EXPECT_EQ(take(small, 10).size(), 10U);
}

TEST_P(depot_with_budget_test, RefusesOversizeAboveTheBudget) {
  EXPECT_EQ(depot_.take_oversize(sizes[large], &classes_[oversize].of).why, refusal::budget);
  EXPECT_EQ(depot_.take_oversize(SIZE_MAX, &classes_[oversize].of).why, refusal::budget);
  EXPECT_EQ(depot_.oversize().acquired, 0U);
}

using depot_death_test = depot_test;

INSTANTIATE_TEST_SUITE_P(each, depot_death_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "shared" : "unshared"; });

TEST_P(depot_death_test, ReportsABlockPutTwice) {
  const blocks taken = take(small, 2);
  EXPECT_DEATH(put(small, {taken[0], taken[0]}), "double_put");
  put(small, taken);
}

// The first put of each pair empties a slab, and the second of these slabs is retired: the address
// belongs to no slab any more when it arrives again.
TEST_P(depot_death_test, ReportsABlockPutTwiceAfterItsSlabWasRetired) {
  const blocks taken = take(large, 2);
  EXPECT_DEATH(put(large, {taken[0], taken[1], taken[1]}), "double_put");
  put(large, taken);
}

// The run of the retired slab serves another class when the block arrives again.
TEST_P(depot_death_test, ReportsABlockPutTwiceAfterAnotherClassGotItsMemory) {
  const blocks taken = take(large, 2);
  EXPECT_DEATH(
      {
        put(large, taken);
        take(medium, 64);
        put(large, {taken[1]});
      },
      "double_put");
  put(large, taken);
}

// In a child: what is wrong here would write where it must not.
TEST_P(depot_death_test, RefusesOversizeMemoryABlockCannotName) {
  EXPECT_EXIT(
      {
        support::high_page_source pages;
        depot tested(pages, memory_budget::unlimited, classes_.get(), std::size(sizes), GetParam());
        const depot::oversize_block made = tested.take_oversize(sizes[large] + 1, &classes_[oversize].of);
        const bool refused = made.data == nullptr && made.why == refusal::memory && pages.mapping_count == 0;
        std::_Exit(refused ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_P(depot_test, HoldsItsInvariantsUnderRandomBatches) {
  support::seeded_random random(303);
  std::array<blocks, std::size(sizes)> held;
  for (int step = 0; step < 3000; ++step) {
    const auto index = static_cast<std::uint32_t>(random.between(0, std::size(sizes) - 1));
    const auto count = static_cast<std::uint32_t>(random.between(1, index == small ? 500 : 12));
    if (held[index].size() < count || random.one_in(2)) {
      const blocks taken = take(index, count);
      held[index].insert(held[index].end(), taken.begin(), taken.end());
    } else {
      put(index, blocks(held[index].begin(), held[index].begin() + count));
      held[index].erase(held[index].begin(), held[index].begin() + count);
    }
    ASSERT_EQ(depot_.blocks_out(index), held[index].size());
    if (random.one_in(100)) depot_.trim();
    if (random.one_in(20)) {
      ASSERT_TRUE(depot_.check_invariants()) << "step " << step;
    }
  }
  for (std::uint32_t index = 0; index < std::size(sizes); ++index) put(index, held[index]);
  EXPECT_TRUE(depot_.check_invariants());
  EXPECT_EQ(depot_.budget().charged(), 0U);
}

}  // namespace
}  // namespace slabbuf::detail
