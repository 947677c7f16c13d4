// SPDX-License-Identifier: MIT
// The pages of a range that must stay where it is, and pools that live on them.
#include <slabbuf/net/detail/contiguous_pages.hpp>

#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "support/zeros.hpp"

namespace slabbuf {
namespace {

using net::detail::contiguous_pages;
using support::is_zero;

constexpr std::size_t granule = detail::granule_bytes;

std::span<const std::byte> bytes(const void* memory, std::size_t count) {
  return {static_cast<const std::byte*>(memory), count};
}

TEST(ContiguousPages, HandsOutAllOfItsRangeAndNoMore) {
  contiguous_pages pages(8 * granule, 8 * granule, {});
  std::vector<void*> mapped;
  for (int count = 0; count < 8; ++count) mapped.push_back(pages.map(granule, granule));
  EXPECT_EQ(mapped.front(), pages.range().data());
  EXPECT_EQ(mapped.back(), pages.range().data() + 7 * granule);
  EXPECT_EQ(pages.map(granule, granule), nullptr);
  pages.unmap(mapped[3], granule);
  EXPECT_EQ(pages.map(2 * granule, granule), nullptr);
  EXPECT_EQ(pages.map(page_size(), page_size()), mapped[3]);
}

TEST(ContiguousPages, JoinsNeighboursThatCameBack) {
  contiguous_pages pages(4 * granule, 4 * granule, {});
  void* const first = pages.map(granule, granule);
  void* const second = pages.map(granule, granule);
  pages.map(2 * granule, granule);
  pages.unmap(second, granule);
  pages.unmap(first, granule);
  EXPECT_EQ(pages.map(2 * granule, granule), first);
}

TEST(ContiguousPages, PutsNothingInTwoParts) {
  contiguous_pages pages(8 * granule, 4 * granule, {});
  EXPECT_EQ(pages.map(3 * granule, granule), pages.range().data());
  EXPECT_EQ(pages.map(3 * granule, granule), pages.range().data() + 4 * granule);
  EXPECT_EQ(pages.map(2 * granule, granule), nullptr);
  EXPECT_EQ(pages.map(5 * granule, granule), nullptr);
  EXPECT_NE(pages.map(granule, granule), nullptr);
}

TEST(ContiguousPages, AlignsWhatItIsAskedFor) {
  contiguous_pages pages(8 * granule, 8 * granule, {});
  pages.map(granule, granule);
  void* const aligned = pages.map(granule, 4 * granule);
  EXPECT_EQ(aligned, pages.range().data() + 4 * granule);
}

TEST(ContiguousPages, ClearsWhatComesBackAndKeepsWhatIsThere) {
  contiguous_pages pages(granule, granule, {});
  void* const mapped = pages.map(granule, granule);
  EXPECT_TRUE(is_zero(bytes(mapped, granule)));
  std::memset(mapped, 0xff, granule);
  EXPECT_FALSE(pages.purge(mapped, granule));
  EXPECT_FALSE(is_zero(bytes(mapped, granule)));
  pages.unmap(mapped, granule);
  EXPECT_TRUE(is_zero(bytes(pages.map(granule, granule), granule)));
}

TEST(ContiguousPages, CarryAPoolThroughEverySize) {
  contiguous_pages pages(16 * 16 * granule, 16 * granule, {});
  {
    local_pool pool({.budget_bytes_max = pages.range().size(), .pages = &pages});
    std::mt19937_64 random(7);
    std::vector<buffer> held;
    std::uint64_t got = 0;
    for (int round = 0; round < 20'000; ++round) {
      if (random() % 2 == 0 && !held.empty()) {
        std::swap(held[random() % held.size()], held.back());
        held.pop_back();
      } else if (buffer next = pool.try_acquire(std::size_t{1} << random() % 22)) {
        EXPECT_TRUE(is_zero(bytes(std::as_const(next).data(), std::min<std::size_t>(next.size(), 64))));
        EXPECT_GE(std::as_const(next).data(), pages.range().data());
        EXPECT_LE(std::as_const(next).data() + next.size(), pages.range().data() + pages.range().size());
        std::memset(next.writable(std::min<std::size_t>(next.size(), 64)).data(), 0xff,
                    std::min<std::size_t>(next.size(), 64));
        held.push_back(std::move(next));
        ++got;
      } else if (!held.empty()) {
        held.clear();
      }
      if (round % 1000 == 0) pool.trim();
    }
    EXPECT_GT(got, 5000U);
    held.clear();
    EXPECT_TRUE(pool.check_invariants());
  }
  // All of it has come back: each part is free as a whole.
  for (int part = 0; part < 16; ++part) EXPECT_NE(pages.map(16 * granule, granule), nullptr);
}

}  // namespace
}  // namespace slabbuf
