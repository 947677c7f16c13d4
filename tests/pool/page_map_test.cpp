// SPDX-License-Identifier: MIT
// Addresses here are made up: the map never follows them.
#include <slabbuf/pool/detail/page_map.hpp>

#include "support/seeded_random.hpp"

#include <slabbuf/pool/detail/slab.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace slabbuf::detail {
namespace {

const std::byte* at(std::uintptr_t bits) { return reinterpret_cast<const std::byte*>(bits); }

// Far from where the system puts anything.
constexpr std::uintptr_t base = std::uintptr_t{0x1234} << 32;

TEST(page_map_test, FindsTheOwnerOfEveryByteAndOfNoOther) {
  slab owner{};
  ASSERT_TRUE(page_map::set(at(base), 3 * granule_bytes, &owner));
  EXPECT_EQ(page_map::find(at(base - 1)), nullptr);
  EXPECT_EQ(page_map::find(at(base)), &owner);
  EXPECT_EQ(page_map::find(at(base + granule_bytes + 12345)), &owner);
  EXPECT_EQ(page_map::find(at(base + 3 * granule_bytes - 1)), &owner);
  EXPECT_EQ(page_map::find(at(base + 3 * granule_bytes)), nullptr);
  page_map::clear(at(base), 3 * granule_bytes);
  EXPECT_EQ(page_map::find(at(base)), nullptr);
  EXPECT_EQ(page_map::find(at(base + 3 * granule_bytes - 1)), nullptr);
}

TEST(page_map_test, KeepsNeighboursApart) {
  slab first{};
  slab second{};
  ASSERT_TRUE(page_map::set(at(base), granule_bytes, &first));
  ASSERT_TRUE(page_map::set(at(base + granule_bytes), granule_bytes, &second));
  page_map::clear(at(base), granule_bytes);
  EXPECT_EQ(page_map::find(at(base)), nullptr);
  EXPECT_EQ(page_map::find(at(base + granule_bytes)), &second);
  page_map::clear(at(base + granule_bytes), granule_bytes);
}

TEST(page_map_test, CoversARangeThatCrossesLeaves) {
  slab owner{};
  constexpr std::uintptr_t leaf_end = base + (std::uintptr_t{1} << 32);
  constexpr std::uintptr_t begin = leaf_end - 2 * granule_bytes;
  ASSERT_TRUE(page_map::set(at(begin), 4 * granule_bytes, &owner));
  for (std::uintptr_t bits = begin; bits < begin + 4 * granule_bytes; bits += granule_bytes) {
    EXPECT_EQ(page_map::find(at(bits)), &owner);
  }
  EXPECT_EQ(page_map::find(at(begin - 1)), nullptr);
  EXPECT_EQ(page_map::find(at(begin + 4 * granule_bytes)), nullptr);
  page_map::clear(at(begin), 4 * granule_bytes);
  EXPECT_EQ(page_map::find(at(leaf_end)), nullptr);
}

TEST(page_map_test, CoversAPartOfAGranuleWhole) {
  slab owner{};
  ASSERT_TRUE(page_map::set(at(base), granule_bytes + 4096, &owner));
  EXPECT_EQ(page_map::find(at(base + granule_bytes)), &owner);
  page_map::clear(at(base), granule_bytes + 4096);
  EXPECT_EQ(page_map::find(at(base + granule_bytes)), nullptr);
}

TEST(page_map_test, CoversTheLastGranuleThereIs) {
  slab owner{};
  constexpr std::uintptr_t last = page_map::address_end - granule_bytes;
  ASSERT_TRUE(page_map::set(at(last), granule_bytes, &owner));
  EXPECT_EQ(page_map::find(at(last)), &owner);
  EXPECT_EQ(page_map::find(at(page_map::address_end - 1)), &owner);
  EXPECT_EQ(page_map::find(at(page_map::address_end)), nullptr);
  page_map::clear(at(last), granule_bytes);
}

TEST(page_map_test, SaysNothingOfForeignAddressesWhateverTheirBits) {
  slab owner{};
  ASSERT_TRUE(page_map::set(at(base), granule_bytes, &owner));
  const auto is_owned = [](std::uintptr_t bits) { return bits >= base && bits < base + granule_bytes; };
  EXPECT_EQ(page_map::find(nullptr), nullptr);
  EXPECT_EQ(page_map::find(at(UINTPTR_MAX)), nullptr);
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uintptr_t one = std::uintptr_t{1} << bit;
    for (const std::uintptr_t bits : {one, one - 1, ~one, base ^ one}) {
      EXPECT_EQ(page_map::find(at(bits)), is_owned(bits) ? &owner : nullptr) << bits;
    }
  }
  support::seeded_random random(301);
  for (int each = 0; each < 1'000'000; ++each) {
    const std::uintptr_t bits = random.bits() >> random.between(0, 40);
    if (!is_owned(bits)) {
      ASSERT_EQ(page_map::find(at(bits)), nullptr) << bits;
    }
  }
  page_map::clear(at(base), granule_bytes);
}

TEST(page_map_test, SaysNothingOfStackHeapAndCode) {
  local_pool pool;
  const buffer kept = pool.acquire(100);
  const int on_stack = 0;
  const auto on_heap = std::make_unique<int>(0);
  static int in_data = 0;
  for (const int* const each : {&on_stack, static_cast<const int*>(on_heap.get()), static_cast<const int*>(&in_data)}) {
    EXPECT_EQ(page_map::find(each), nullptr);
  }
  EXPECT_NE(page_map::find(kept.data()), nullptr);
}

}  // namespace
}  // namespace slabbuf::detail
