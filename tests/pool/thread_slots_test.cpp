// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_slots.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <thread>

namespace slabbuf::detail {
namespace {

TEST(thread_slots_test, EveryPlaceOfAThreadStartsClosed) {
  std::thread([] {
    EXPECT_EQ(slots_of_thread.inside.load(), 0);
    for (const auto& each : slots_of_thread.bins) EXPECT_EQ(each.load(), closed_bins);
  }).join();
}

TEST(thread_slots_test, TheBinsOfAClosedPlaceHaveNeitherBlocksNorRoom) {
  constexpr std::size_t last = 5 * bin_stride;
  const slot_guard bins(slot_offset(0));
  std::byte* block = nullptr;
  std::byte memory{};
  for (std::size_t offset = 0; offset <= last; offset += bin_stride) {
    EXPECT_FALSE(bins.at(offset).pop(block));
    EXPECT_FALSE(bins.at(offset).push(&memory));
  }
}

TEST(thread_slots_test, AGuardSaysThatTheThreadIsInsideAndFindsItsOwnBins) {
  constexpr std::size_t place = 7;
  const auto mine = std::make_unique<bin[]>(2);
  slots_of_thread.bins[place].store(mine.get());
  const std::ptrdiff_t slot = slot_offset(place);
  {
    const slot_guard bins(slot);
    EXPECT_EQ(slots_of_thread.inside.load(), 1);
    EXPECT_EQ(&bins.at(bin_stride), &mine[1]);
  }
  EXPECT_EQ(slots_of_thread.inside.load(), 0);
  std::thread([&] {
    EXPECT_EQ(slot_offset(place), slot) << "the same in every thread";
    const slot_guard bins(slot);
    EXPECT_EQ(&bins.at(0), closed_bins);
  }).join();
  slots_of_thread.bins[place].store(closed_bins);
}

}  // namespace
}  // namespace slabbuf::detail
