// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/free_block.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace slabbuf::detail {
namespace {

TEST(free_block_test, KeepsAddressAndExtent) {
  for (const std::uintptr_t bits : {std::uintptr_t{0}, std::uintptr_t{64}, free_block::address_end - 1}) {
    auto* const address = reinterpret_cast<std::byte*>(bits);
    for (const std::uint32_t units : {0U, 1U, 0x8000U, free_block::units_whole}) {
      const free_block block(address, units);
      EXPECT_EQ(block.data(), address);
      EXPECT_EQ(block.units(), units);
    }
  }
}

TEST(free_block_test, UnitsCoverTheBytesAndNoMore) {
  EXPECT_EQ(free_block::units_of(0), 0U);
  for (std::uint32_t bytes = 1; bytes <= 65534 * 64; bytes += 63) {
    ASSERT_EQ(free_block::units_of(bytes), (bytes + 63) / 64) << bytes;
  }
}

TEST(free_block_test, UnitsOfMoreThanTheyCanCountAreTheWholeBlock) {
  EXPECT_EQ(free_block::units_of(65534 * 64), 65534U);
  EXPECT_EQ(free_block::units_of(65534 * 64 + 1), free_block::units_whole);
  EXPECT_EQ(free_block::units_of(std::uint32_t{1} << 30), free_block::units_whole);
  EXPECT_EQ(free_block::units_of(UINT32_MAX), free_block::units_whole);
}

// Bytes from the start that clear() sets to zero; the rest must be as it was.
std::size_t cleared_bytes(std::size_t class_size, std::uint32_t units) {
  constexpr std::size_t margin = 256;
  std::vector<std::byte> memory(class_size + margin, std::byte{0xee});
  free_block(memory.data(), units).clear(class_size);
  const auto end = std::find(memory.begin(), memory.end(), std::byte{0xee});
  EXPECT_TRUE(std::all_of(end, memory.end(), [](std::byte each) { return each == std::byte{0xee}; }));
  return static_cast<std::size_t>(end - memory.begin());
}

TEST(free_block_test, ClearsTheExtentOnly) {
  for (const std::size_t class_size :
       std::initializer_list<std::size_t>{1, 2, 32, 63, 64, 65, 100, 128, 4096, 100000}) {
    for (const std::uint32_t units : {0U, 1U, 2U, 3U, 64U, 1000U}) {
      EXPECT_EQ(cleared_bytes(class_size, units), std::min(class_size, units * free_block::unit_bytes))
          << class_size << ", " << units;
    }
  }
}

TEST(free_block_test, ClearsAWholeBlockWhateverItsSize) {
  for (const std::size_t class_size :
       std::initializer_list<std::size_t>{std::size_t{1}, std::size_t{4096}, std::size_t{6} << 20}) {
    EXPECT_EQ(cleared_bytes(class_size, free_block::units_whole), class_size);
  }
}

}  // namespace
}  // namespace slabbuf::detail
