// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_slots.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

namespace slabbuf::detail {
namespace {

TEST(thread_slots_test, EveryPlaceOfAThreadStartsClosed) {
  std::thread([] {
    for (const auto& each : slots_of_thread.to_bins) EXPECT_EQ(each.load(), 0);
  }).join();
}

TEST(thread_slots_test, AClosedPlaceLeadsToTheClassWhichHasNeitherBlocksNorRoom) {
  const auto classes = std::make_unique<bin[]>(2);
  const slot_look slot(slot_offset(0));
  EXPECT_EQ(&slot.bin_of(classes[1].of), &classes[1]);
  std::byte* block = nullptr;
  std::byte memory{};
  EXPECT_FALSE(slot.bin_of(classes[1].of).pop(block));
  EXPECT_FALSE(slot.bin_of(classes[1].of).push(&memory));
}

TEST(thread_slots_test, AnOpenPlaceLeadsToTheThreadsOwnBins) {
  constexpr std::size_t place = 7;
  const auto classes = std::make_unique<bin[]>(2);
  const auto mine = std::make_unique<bin[]>(2);
  slots_of_thread.to_bins[place] = reinterpret_cast<std::intptr_t>(mine.get()) -  //
                                   reinterpret_cast<std::intptr_t>(classes.get());
  const std::ptrdiff_t offset = slot_offset(place);
  const slot_look slot(offset);
  EXPECT_EQ(&slot.bin_of(classes[1].of), &mine[1]);
  EXPECT_FALSE(slot.in_doubt());
  std::thread([&] {
    EXPECT_EQ(slot_offset(place), offset) << "the same in every thread";
    EXPECT_EQ(&slot_look(offset).bin_of(classes[0].of), &classes[0]);
  }).join();
  slots_of_thread.to_bins[place] = 0;
  EXPECT_TRUE(slot.in_doubt()) << "closed since the look";
}

}  // namespace
}  // namespace slabbuf::detail
