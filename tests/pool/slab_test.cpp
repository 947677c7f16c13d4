// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/slab.hpp>

#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

#include <slabbuf/pool/detail/page_map.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

namespace slabbuf::detail {
namespace {

TEST(slab_geometry_test, BlocksFitAndAreAligned) {
  for (std::size_t size = 1; size <= std::size_t{1} << 30; size += size < 5000 ? 1 : size / 7) {
    const slab_geometry geometry = slab_geometry::of(size);
    ASSERT_GE(geometry.stride, size);
    ASSERT_LT(geometry.stride - size, block_alignment) << size;
    ASSERT_GE(geometry.block_count, 1U);
    ASSERT_LE(geometry.stride * geometry.block_count, geometry.span_bytes);
    ASSERT_EQ(geometry.span_bytes % granule_bytes, 0U);
    if (size >= 64) {
      ASSERT_EQ(geometry.stride % 64, 0U) << size;
    }
  }
}

TEST(slab_geometry_test, LessAlignmentWastesLess) {
  EXPECT_EQ(slab_geometry::of(544).stride, 576U);
  EXPECT_EQ(slab_geometry::of(544, hardening::off, 32).stride, 544U);
  EXPECT_EQ(slab_geometry::of(40, hardening::off, 16).stride, 48U);
  EXPECT_EQ(slab_geometry::of(8, hardening::off, 16).stride, 8U) << "smaller than the alignment";
}

TEST(slab_geometry_test, PowersOfTwoAreAlignedToThemselvesUpToAPage) {
  for (std::size_t size = 1; size <= std::size_t{1} << 30; size *= 2) {
    EXPECT_EQ(slab_geometry::of(size).stride, size);
    EXPECT_EQ(slab_geometry::of(size).stride % std::min(size, page_size()), 0U);
  }
}

// A slab over memory of its own.
class slab_over_pages {
 public:
  explicit slab_over_pages(std::size_t class_size, bool resident = false)
      : geometry(slab_geometry::of(class_size)),
        base(static_cast<std::byte*>(pages.map(geometry.span_bytes, granule_bytes))),
        owner{.size = class_size},
        of(slab::make(base, resident, geometry, owner)) {}
  slab_over_pages(const slab_over_pages&) = delete;
  slab_over_pages& operator=(const slab_over_pages&) = delete;
  ~slab_over_pages() {
    slab::destroy(of);
    pages.unmap(base, geometry.span_bytes);
  }

  std::vector<std::byte*> take(std::uint32_t count) {
    std::vector<std::byte*> blocks(count);
    blocks.resize(of->take(blocks.data(), count));
    return blocks;
  }

  bool counts_agree() const {
    std::uint32_t free_count = 0;
    for (std::uint32_t index = 0; index < of->block_count; ++index) free_count += of->is_free(index) ? 1U : 0U;
    return free_count == of->free_count;
  }

  support::failing_page_source pages;
  const slab_geometry geometry;
  std::byte* const base;
  const block_class owner;
  slab* const of;
};

TEST(slab_test, StartsWithEveryBlockFree) {
  for (const std::size_t size : std::initializer_list<std::size_t>{1, 2, 16, 63, 64, 256, 1000, 4096, 65536, 1 << 20}) {
    const slab_over_pages tested(size);
    EXPECT_EQ(tested.of->free_count, tested.of->block_count);
    EXPECT_TRUE(tested.counts_agree());
    EXPECT_FALSE(tested.of->resident());
  }
}

TEST(slab_test, TakesLowestAddressesFirstUntilItIsEmpty) {
  for (const std::size_t size : std::initializer_list<std::size_t>{2, 48, 100, 1024, 17408, 1 << 20}) {
    slab_over_pages tested(size);
    std::byte* expected = tested.base;
    std::uint32_t taken = 0;
    for (std::vector<std::byte*> batch = tested.take(7); !batch.empty(); batch = tested.take(7)) {
      for (std::byte* const block : batch) {
        EXPECT_EQ(block, expected);
        expected += tested.geometry.stride;
      }
      taken += static_cast<std::uint32_t>(batch.size());
      EXPECT_TRUE(tested.counts_agree());
    }
    EXPECT_EQ(taken, tested.geometry.block_count);
    EXPECT_EQ(tested.of->free_count, 0U);
  }
}

TEST(slab_test, TakesAgainWhatWasPutBack) {
  slab_over_pages tested(64);
  const std::vector<std::byte*> all = tested.take(tested.geometry.block_count);
  EXPECT_TRUE(tested.of->put(all[700]));
  EXPECT_TRUE(tested.of->put(all[3]));
  const std::vector<std::byte*> again = tested.take(10);
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0], all[3]);
  EXPECT_EQ(again[1], all[700]);
}

TEST(slab_test, RefusesABlockThatIsFreeAlready) {
  slab_over_pages tested(64);
  std::byte* const taken = tested.take(1).front();
  EXPECT_TRUE(tested.of->put(taken));
  EXPECT_FALSE(tested.of->put(taken));
  EXPECT_FALSE(tested.of->put(tested.base + 64));
  EXPECT_EQ(tested.of->free_count, tested.of->block_count);
}

TEST(slab_test, RefusesAnAddressWhereNoBlockStarts) {
  slab_over_pages tested(17408);  // three blocks and a rest
  const std::uint32_t count = tested.of->block_count;
  ASSERT_EQ(tested.take(count).size(), count);
  const std::size_t stride = tested.geometry.stride;
  for (const std::size_t offset : std::initializer_list<std::size_t>{std::size_t{1}, stride - 1, stride + 64,
                                                                     count * stride, count * stride + 1}) {
    EXPECT_EQ(tested.of->index_of(tested.base + offset), count) << offset;
    EXPECT_FALSE(tested.of->put(tested.base + offset));
  }
  for (std::uint32_t index = 0; index < count; ++index) {
    EXPECT_EQ(tested.of->index_of(tested.base + index * stride), index);
  }
}

TEST(slab_test, LendsABlockOnceUntilItIsBack) {
  slab_over_pages tested(64);
  EXPECT_FALSE(tested.of->reclaim_lent(70));
  EXPECT_TRUE(tested.of->lend(70));
  EXPECT_FALSE(tested.of->lend(70));
  EXPECT_TRUE(tested.of->lend(71));
  EXPECT_TRUE(tested.of->reclaim_lent(70));
  EXPECT_FALSE(tested.of->reclaim_lent(70));
  EXPECT_TRUE(tested.of->lend(70));
}

TEST(slab_test, PurgeMakesFreeBlocksOfWholePagesZero) {
  slab_over_pages tested(2 * page_size());
  const std::vector<std::byte*> taken = tested.take(3);
  for (std::byte* const block : taken) std::memset(block, 0xcc, tested.geometry.stride);
  EXPECT_TRUE(tested.of->put(taken[0]));
  EXPECT_TRUE(tested.of->put(taken[2]));

  EXPECT_EQ(tested.of->purge(tested.pages), 2 * tested.geometry.stride);
  EXPECT_EQ(tested.of->purge(tested.pages), 0U) << "nothing was touched since";
  EXPECT_EQ(*taken[0], std::byte{0});
  EXPECT_EQ(taken[2][tested.geometry.stride - 1], std::byte{0});
  EXPECT_EQ(*taken[1], std::byte{0xcc}) << "in use";
}

TEST(slab_test, WhatCouldNotBePurgedStaysAsItWas) {
  slab_over_pages tested(page_size());
  EXPECT_TRUE(tested.of->put(tested.take(1).front()));
  tested.pages.refuse_purge(true);
  EXPECT_EQ(tested.of->purge(tested.pages), 0U);
  tested.pages.refuse_purge(false);
  EXPECT_EQ(tested.of->purge(tested.pages), page_size());
}

// Small blocks share pages: one in use keeps its page and no other.
TEST(slab_test, PurgeLeavesPagesWithABlockInUseAlone) {
  for (const std::size_t size : std::initializer_list<std::size_t>{64, 1000, 1024, 3000}) {
    slab_over_pages tested(size);
    const std::vector<std::byte*> taken = tested.take(tested.geometry.block_count);
    for (std::byte* const block : taken) std::memset(block, 0xcc, size);
    std::byte* const kept = taken[taken.size() / 2];
    for (std::byte* const block : taken) {
      if (block != kept) {
        EXPECT_TRUE(tested.of->put(block));
      }
    }
    const std::size_t page = page_size();
    const auto offset = static_cast<std::size_t>(kept - tested.base);
    const std::size_t kept_pages = (offset + tested.geometry.stride - 1) / page - offset / page + 1;
    const std::size_t touched = (taken.size() * tested.geometry.stride + page - 1) / page;
    EXPECT_EQ(tested.of->purge(tested.pages), (touched - kept_pages) * page) << size;
    EXPECT_TRUE(std::all_of(kept, kept + size, [](std::byte each) { return each == std::byte{0xcc}; })) << size;
    EXPECT_TRUE(tested.of->resident());
    EXPECT_TRUE(tested.of->put(kept));
    EXPECT_EQ(tested.of->purge(tested.pages), kept_pages * page) << size;
    EXPECT_FALSE(tested.of->resident());
  }
}

// A run that other slabs used before is resident as far as anybody knows, all of it.
TEST(slab_test, PurgeHandsTheMemoryOfAResidentRunBack) {
  slab_over_pages tested(page_size(), true);
  EXPECT_EQ(tested.take(1).front(), tested.base);
  EXPECT_EQ(tested.of->purge(tested.pages), (tested.geometry.block_count - 1) * page_size());
}

TEST(slab_test, AgreesWithAModelUnderRandomTakesAndPuts) {
  support::seeded_random random(302);
  for (const std::size_t size : std::initializer_list<std::size_t>{2, 64, 300, 4096, 100000}) {
    slab_over_pages tested(size);
    std::vector<std::byte*> held;
    for (int step = 0; step < 2000; ++step) {
      if (random.one_in(2)) {
        const std::vector<std::byte*> got = tested.take(static_cast<std::uint32_t>(random.between(1, 70)));
        held.insert(held.end(), got.begin(), got.end());
      } else if (!held.empty()) {
        std::swap(held[random.between(0, held.size() - 1)], held.back());
        ASSERT_TRUE(tested.of->put(held.back()));
        ASSERT_FALSE(tested.of->put(held.back()));
        held.pop_back();
      }
      ASSERT_EQ(tested.of->free_count + held.size(), tested.of->block_count);
    }
    EXPECT_TRUE(tested.counts_agree());
    std::vector<std::byte*> addresses = held;
    std::sort(addresses.begin(), addresses.end());
    EXPECT_EQ(std::adjacent_find(addresses.begin(), addresses.end()), addresses.end()) << "handed out twice";
  }
}

TEST(slab_list_test, KeepsItsOrder) {
  slab slabs[3]{};
  slab_list list;
  const auto in_order = [&] {
    std::vector<const slab*> forward;
    for (const slab* each = list.first; each != nullptr; each = each->next) forward.push_back(each);
    std::vector<const slab*> backward;
    for (const slab* each = list.last; each != nullptr; each = each->previous) backward.insert(backward.begin(), each);
    EXPECT_EQ(forward, backward);
    return forward;
  };
  using order = std::vector<const slab*>;
  list.push_front(&slabs[1]);
  list.push_front(&slabs[0]);
  list.push_back(&slabs[2]);
  EXPECT_EQ(in_order(), (order{&slabs[0], &slabs[1], &slabs[2]}));
  list.remove(&slabs[1]);
  EXPECT_EQ(in_order(), (order{&slabs[0], &slabs[2]}));
  list.remove(&slabs[2]);
  EXPECT_EQ(in_order(), (order{&slabs[0]}));
  list.remove(&slabs[0]);
  EXPECT_EQ(in_order(), order{});
  list.push_back(&slabs[1]);
  EXPECT_EQ(in_order(), (order{&slabs[1]}));
}

TEST(slab_test, OwnersAreCountedApartForEachBlockAndStartAtZero) {
  const slab_over_pages tested(1024);
  for (std::uint32_t index = 0; index < tested.geometry.block_count; ++index) {
    block_owners* const record = tested.of->owners_of(index);
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->count, 0U);
    EXPECT_EQ(record->written, 0U);
    record->written = index + 1;
  }
  for (std::uint32_t index = 0; index < tested.geometry.block_count; ++index) {
    EXPECT_EQ(tested.of->owners_of(index)->written, index + 1);
  }
}

TEST(slab_test, AFreeBlockWithOwnersIsFoundOut) {
  slab_over_pages tested(1024);
  EXPECT_TRUE(tested.of->free_blocks_have_no_owners());
  tested.take(1);
  tested.of->owners_of(0)->count = 2;
  EXPECT_TRUE(tested.of->free_blocks_have_no_owners());
  tested.of->owners_of(1)->count = 2;
  EXPECT_FALSE(tested.of->free_blocks_have_no_owners());
}

}  // namespace
}  // namespace slabbuf::detail
