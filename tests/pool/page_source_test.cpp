// SPDX-License-Identifier: MIT
#include <slabbuf/pool/page_source.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace slabbuf {
namespace {

std::span<std::byte> map(std::size_t size, std::size_t alignment) {
  return {static_cast<std::byte*>(page_source::system().map(size, alignment)), size};
}

void unmap(std::span<std::byte> memory) { page_source::system().unmap(memory.data(), memory.size()); }

bool is_zero(std::span<const std::byte> memory) {
  return std::all_of(memory.begin(), memory.end(), [](std::byte each) { return each == std::byte{0}; });
}

TEST(page_source_test, APageIsAPowerOfTwo) {
  EXPECT_TRUE(std::has_single_bit(page_size()));
  EXPECT_GE(page_size(), 4096U);
}

TEST(page_source_test, MemoryIsAlignedZeroAndWritable) {
  for (std::size_t alignment = page_size(); alignment <= std::size_t{16} << 20; alignment *= 2) {
    for (const std::size_t page_count :
         std::initializer_list<std::size_t>{std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
      const std::span memory = map(page_count * page_size(), alignment);
      ASSERT_NE(memory.data(), nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % alignment, 0U);
      EXPECT_TRUE(is_zero(memory));
      std::fill(memory.begin(), memory.end(), std::byte{0xff});
      unmap(memory);
    }
  }
}

TEST(page_source_test, MappingsDoNotOverlap) {
  constexpr std::size_t alignment = std::size_t{1} << 20;
  std::span<std::byte> all[16];
  for (std::span<std::byte>& each : all) {
    each = map(page_size(), alignment);
    ASSERT_TRUE(is_zero(each));
    std::fill(each.begin(), each.end(), std::byte{1});
  }
  for (const std::span<std::byte> each : all) unmap(each);
}

TEST(page_source_test, PurgedMemoryReadsAsZeroAndStaysUsable) {
  const std::span memory = map(4 * page_size(), page_size());
  ASSERT_NE(memory.data(), nullptr);
  std::fill(memory.begin(), memory.end(), std::byte{0xab});
  const std::span middle = memory.subspan(page_size(), 2 * page_size());
  ASSERT_TRUE(page_source::system().purge(middle.data(), middle.size()));
  EXPECT_TRUE(is_zero(middle));
  EXPECT_EQ(memory.front(), std::byte{0xab});
  EXPECT_EQ(memory.back(), std::byte{0xab});
  std::fill(middle.begin(), middle.end(), std::byte{1});
  EXPECT_EQ(middle.back(), std::byte{1});
  unmap(memory);
}

TEST(page_source_test, RefusesSizesThatCannotBe) {
  const std::size_t pages_max = SIZE_MAX / page_size() * page_size();
  for (const std::size_t size :
       std::initializer_list<std::size_t>{std::size_t{0}, pages_max, pages_max / 2 / page_size() * page_size()}) {
    for (const std::size_t alignment : std::initializer_list<std::size_t>{page_size(), std::size_t{1} << 20}) {
      EXPECT_EQ(map(size, alignment).data(), nullptr) << size;
    }
  }
}

TEST(page_source_test, TheSystemSourceIsOne) { EXPECT_EQ(&page_source::system(), &page_source::system()); }

}  // namespace
}  // namespace slabbuf
