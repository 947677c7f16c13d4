// SPDX-License-Identifier: MIT
// What both pools promise alike.
#include <slabbuf/pool/basic_pool.hpp>

#include "support/both_pools.hpp"
#include "support/failing_page_source.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::is_zero;
using support::with_budget;
using support::with_pages;
using support::with_zeroing;

constexpr std::size_t largest = std::size_t{1} << 20;  // class of the default table

template <class Pool>
class basic_pool_test : public ::testing::Test {};
TYPED_TEST_SUITE(basic_pool_test, support::both_pools, support::pool_name);

TYPED_TEST(basic_pool_test, GivesEverySizeTheSmallestClassThatFits) {
  TypeParam pool;
  for (std::size_t index = 0; index < pool.size_classes().count(); ++index) {
    const std::size_t class_size = pool.size_classes().size_of(index);
    for (const std::size_t size : std::initializer_list<std::size_t>{class_size / 2 + 1, class_size - 1, class_size}) {
      if (size == 0 || pool.size_classes().find(size) != index) continue;
      const buffer got = pool.acquire(size);
      EXPECT_EQ(got.size(), size);
      EXPECT_EQ(got.capacity(), class_size);
    }
  }
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, ABufferOfNoBytesIsABuffer) {
  TypeParam pool;
  buffer got = pool.acquire(0);
  EXPECT_TRUE(got);
  EXPECT_TRUE(got.empty());
  EXPECT_EQ(got.capacity(), 2U);
  got.resize(2);
  got.data()[1] = std::byte{1};
  EXPECT_EQ(pool.stats().in_use, 1U);
}

TYPED_TEST(basic_pool_test, UsesTheTableItWasGiven) {
  pool_options options;
  options.size_classes = {3, 7, 100, 1000, 17408};
  TypeParam pool(options);
  EXPECT_EQ(pool.size_classes().count(), 5U);
  for (const std::size_t size : std::initializer_list<std::size_t>{1, 3, 4, 7, 8, 101, 1000, 17408}) {
    const buffer got = pool.acquire(size);
    EXPECT_EQ(got.capacity(), options.size_classes.size_of(options.size_classes.find(size)));
  }
  EXPECT_EQ(pool.acquire(17409).capacity(), (17409 + page_size() - 1) / page_size() * page_size());
}

TYPED_TEST(basic_pool_test, BlocksDoNotOverlap) {
  TypeParam pool;
  std::vector<buffer> held;
  for (int round = 0; round < 100; ++round) {
    for (const std::size_t size : std::initializer_list<std::size_t>{1, 2, 30, 64, 500, 4096, 20000}) {
      buffer got = pool.acquire(size);
      std::memset(got.data(), static_cast<int>(held.size() % 251), size);
      held.push_back(std::move(got));
    }
  }
  for (std::size_t index = 0; index < held.size(); ++index) {
    const std::byte expected{static_cast<unsigned char>(index % 251)};
    const std::byte* const data = std::as_const(held[index]).data();
    ASSERT_TRUE(std::all_of(data, data + held[index].size(), [&](std::byte each) { return each == expected; }));
  }
}

TYPED_TEST(basic_pool_test, BlocksAreAligned) {
  const std::vector<std::size_t> odd = {65, 100, 300, 5000, 100001};
  for (const bool powers : {true, false}) {
    pool_options options;
    if (!powers) options.size_classes = size_class_table(std::span(odd));
    TypeParam pool(options);
    for (std::size_t index = 0; index < pool.size_classes().count(); ++index) {
      const std::size_t size = pool.size_classes().size_of(index);
      const std::size_t alignment = powers ? std::min(size, page_size()) : 64;
      std::vector<buffer> held;
      for (int count = 0; count < 20; ++count) {
        held.push_back(pool.acquire(size));
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(std::as_const(held.back()).data()) % alignment, 0U) << size;
      }
    }
  }
}

TYPED_TEST(basic_pool_test, InexactSizesAreReusedEveryTime) {
  constexpr std::uint64_t round_count = 1000;
  TypeParam pool;
  for (const std::size_t size : std::initializer_list<std::size_t>{3, 100, 1000, 1025, 5000, 70000, 600000}) {
    SCOPED_TRACE(size);
    const std::byte* const first = pool.acquire(size).data();  // an address to compare with, no more
    const pool_stats before = pool.stats();
    for (std::uint64_t round = 0; round < round_count; ++round) {
      const buffer again = pool.acquire(size);
      ASSERT_EQ(again.data(), first);
    }
    const pool_stats after = pool.stats();
    EXPECT_EQ(after.hits - before.hits, round_count);
    EXPECT_EQ(after.misses, before.misses);
    EXPECT_EQ(after.slabs, before.slabs);
  }
}

TYPED_TEST(basic_pool_test, RawBlocksOfInexactSizesAreReusedHoweverTheyArePut) {
  TypeParam pool;
  const std::function<void(const raw_buffer&)> puts[] = {
      [&](const raw_buffer& raw) { pool.put_buffer(raw.data, raw.size); },
      [&](const raw_buffer& raw) { pool.put_buffer(raw.data, raw.class_size); },
      [&](const raw_buffer& raw) { pool.put_buffer(raw.data, 0); },
      [&](const raw_buffer& raw) { pool.put_buffer(raw); }};
  for (const std::size_t size : std::initializer_list<std::size_t>{3, 100, 1000, 5000, 70000}) {
    const raw_buffer first = pool.get_buffer(size);
    EXPECT_EQ(first.size, size);
    EXPECT_EQ(first.class_size, pool.size_classes().size_of(pool.size_classes().find(size)));
    pool.put_buffer(first);
    for (const auto& put : puts) {
      const pool_stats before = pool.stats();
      for (int round = 0; round < 1000; ++round) {
        const raw_buffer again = pool.get_buffer(size);
        ASSERT_EQ(again.data, first.data);
        put(again);
      }
      EXPECT_EQ(pool.stats().hits - before.hits, 1000U);
      EXPECT_EQ(pool.stats().slabs, before.slabs);
    }
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TYPED_TEST(basic_pool_test, PuttingNullIsIgnored) {
  TypeParam pool;
  pool.put_buffer(nullptr, 100);
  pool.put_buffer(raw_buffer{});
  EXPECT_EQ(pool.stats().released, 0U);
}

pool_options keeping_nothing(page_source& pages) {
  pool_options options = with_pages(pages);
  options.cache_bytes_max = 0;
  return options;
}

TYPED_TEST(basic_pool_test, OversizeBuffersComeFromThePageSourceAndGoBackThere) {
  support::failing_page_source pages;
  TypeParam pool(keeping_nothing(pages));
  buffer got = pool.acquire(largest + 1);
  EXPECT_EQ(got.size(), largest + 1);
  EXPECT_EQ(got.capacity(), largest + page_size());
  EXPECT_EQ(pages.mapped_bytes(), largest + page_size());
  EXPECT_TRUE(is_zero(got.prepare()));
  pool_stats now = pool.stats();
  EXPECT_EQ(now.oversize, 1U);
  EXPECT_EQ(now.oversize_in_use, 1U);
  EXPECT_EQ(now.oversize_bytes, got.capacity());
  EXPECT_EQ(now.bytes, got.capacity());
  EXPECT_EQ(now.slabs, 0U);
  EXPECT_TRUE(pool.check_invariants());

  got.release();
  pages.expect_all_unmapped();
  now = pool.stats();
  EXPECT_EQ(now.oversize, 1U);
  EXPECT_EQ(now.oversize_in_use, 0U);
  EXPECT_EQ(now.bytes, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, RawOversizeBlocksGoBackToo) {
  support::failing_page_source pages;
  TypeParam pool(keeping_nothing(pages));
  for (const std::size_t said :
       std::initializer_list<std::size_t>{std::size_t{0}, largest + 1, largest + page_size()}) {
    const raw_buffer raw = pool.get_buffer(largest + 1);
    EXPECT_GE(raw.class_size, raw.size);
    std::memset(raw.data, 0xff, raw.class_size);
    pool.put_buffer(raw.data, said);
    pages.expect_all_unmapped();
  }
}

// Mapping pages and touching them costs far more than handing them on.
TYPED_TEST(basic_pool_test, OversizeBuffersAreKeptForTheNextOfAboutTheirSize) {
  support::failing_page_source pages;
  TypeParam pool(with_pages(pages));
  const std::byte* const first = pool.acquire(largest + 1).prepare().data();
  pool_stats now = pool.stats();
  EXPECT_EQ(now.cached, 1U);
  EXPECT_EQ(now.cached_bytes, largest + page_size());
  EXPECT_EQ(now.bytes, largest + page_size()) << "what is kept counts against the budget";
  EXPECT_TRUE(pool.check_invariants());

  buffer again = pool.acquire(largest + page_size());
  EXPECT_EQ(again.prepare().data(), first);
  EXPECT_TRUE(is_zero(again.prepare()));
  EXPECT_EQ(pool.stats().cached, 0U);
  const buffer other = pool.acquire(largest + 1);
  EXPECT_NE(std::as_const(other).data(), first) << "it is in use";
  again.release();
  const buffer larger = pool.acquire(2 * largest);
  EXPECT_EQ(pool.stats().cached, 1U) << "too small for this one";

  EXPECT_GE(pool.trim(), largest);
  EXPECT_EQ(pool.stats().cached, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, AKeptOversizeBufferWastesAtMostAQuarter) {
  TypeParam pool;
  constexpr std::size_t kept_bytes = largest + (largest >> 1);
  pool.acquire(kept_bytes).release();
  const buffer much_smaller = pool.acquire(largest + 1);
  EXPECT_LT(much_smaller.capacity(), kept_bytes);
  EXPECT_EQ(pool.stats().cached, 1U);
}

TYPED_TEST(basic_pool_test, OfTheKeptOversizeBuffersTheOneThatFitsBestIsTaken) {
  pool_options options;
  options.cache_bytes_max = 16 * largest;
  TypeParam pool(options);
  const std::byte* addresses[3] = {};
  {
    const buffer far = pool.acquire(largest + 5 * 32768);
    const buffer near = pool.acquire(largest + 32768);
    const buffer middle = pool.acquire(largest + 3 * 32768);
    addresses[0] = near.data();
    addresses[1] = middle.data();
    addresses[2] = far.data();
  }
  const buffer first = pool.acquire(largest + 1);
  const buffer second = pool.acquire(largest + 1);
  const buffer third = pool.acquire(largest + 1);
  EXPECT_EQ(first.data(), addresses[0]);
  EXPECT_EQ(second.data(), addresses[1]);
  EXPECT_EQ(third.data(), addresses[2]);
}

// The system has no more, but the pool has what nobody uses.
TYPED_TEST(basic_pool_test, FreeMemoryIsGivenBackBeforeTheSystemsRefusalIsPassedOn) {
  support::failing_page_source pages;
  pages.limit_mapped_bytes(std::size_t{20} << 20);
  TypeParam pool(with_pages(pages));
  {
    std::vector<buffer> held;
    for (int count = 0; count < 15; ++count) held.push_back(pool.acquire(largest));
  }
  EXPECT_TRUE(pool.try_acquire(8 * largest));
  EXPECT_EQ(pool.stats().refused, 0U);
}

TYPED_TEST(basic_pool_test, KeptOversizeBuffersAreCappedAndTheOldestGoesFirst) {
  pool_options options;
  options.cache_bytes_max = 4 * largest;
  TypeParam pool(options);
  std::vector<buffer> held;
  for (int count = 0; count < 5; ++count) held.push_back(pool.acquire(largest + 1));
  const std::byte* const newest = std::as_const(held.back()).data();
  held.clear();
  EXPECT_EQ(pool.stats().cached, 3U);
  EXPECT_LE(pool.stats().cached_bytes, options.cache_bytes_max);
  EXPECT_EQ(std::as_const(held.emplace_back(pool.acquire(largest + 1))).data(), newest);
  pool.acquire(5 * largest).release();
  EXPECT_EQ(pool.stats().cached, 2U) << "larger than the cap: it goes back at once";
  held.clear();
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, KeptOversizeBuffersAreGivenUpBeforeARequestIsRefused) {
  constexpr std::size_t budget = 64 * largest;
  TypeParam pool(with_budget(budget));
  pool.acquire(2 * largest).release();
  ASSERT_EQ(pool.stats().cached, 1U);
  EXPECT_TRUE(pool.try_acquire(budget));
  EXPECT_EQ(pool.stats().refused, 0U);
}

// What was written to it, by every way to write, is gone when the next holder comes.
TYPED_TEST(basic_pool_test, AKeptOversizeBufferIsZero) {
  for (const zeroing policy : {zeroing::dirty_extent, zeroing::whole_block}) {
    TypeParam pool(with_zeroing(policy));
    for (const std::size_t written : std::initializer_list<std::size_t>{1, 100, 5000, largest + 1}) {
      {
        buffer filled = pool.acquire(largest + 1);
        const std::span<std::byte> bytes = filled.writable(written);
        std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
      }
      ASSERT_EQ(pool.stats().cached, 1U);
      EXPECT_TRUE(is_zero(pool.acquire(largest + 1).prepare())) << written;
      const raw_buffer raw = pool.get_buffer(largest + 1);
      std::memset(raw.data, 0xff, raw.class_size);
      pool.put_buffer(raw);
      EXPECT_TRUE(is_zero(pool.acquire(largest + 1).prepare())) << written;
    }
  }
}

TYPED_TEST(basic_pool_test, SizesNoHandleCanKeepAreRefused) {
  TypeParam pool;
  for (const std::size_t size :
       std::initializer_list<std::size_t>{buffer_bytes_max + 1, std::size_t{1} << 40, SIZE_MAX}) {
    EXPECT_FALSE(pool.try_acquire(size));
    EXPECT_THROW(static_cast<void>(pool.get_buffer(size)), acquire_failed);
    try {
      static_cast<void>(pool.acquire(size));
      FAIL() << "nothing thrown";
    } catch (const budget_exceeded&) {
      FAIL() << "no budget was set";
    } catch (const acquire_failed& failure) {
      EXPECT_EQ(failure.requested_bytes(), size);
      EXPECT_EQ(failure.limit_bytes(), buffer_bytes_max);
    }
  }
  EXPECT_EQ(pool.stats().refused, 9U);
  EXPECT_EQ(pool.stats().bytes, 0U);
}

TYPED_TEST(basic_pool_test, ABudgetIsUsedToTheLastByteAndNoFurther) {
  TypeParam pool(with_budget(10 * 4096));
  std::vector<buffer> held;
  for (int count = 0; count < 10; ++count) held.push_back(pool.acquire(4096));
  EXPECT_EQ(pool.stats().bytes, pool.stats().budget_bytes_max);
  EXPECT_FALSE(pool.try_acquire(1));
  EXPECT_FALSE(pool.try_acquire(4096));
  EXPECT_EQ(pool.stats().refused, 2U);
  held.pop_back();
  EXPECT_TRUE(pool.try_acquire(4096));
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, AnExceededBudgetSaysWhatWasAskedForTheLimitAndWhatIsTaken) {
  TypeParam pool(with_budget(8192));
  const buffer held = pool.acquire(5000);
  for (const auto& acquire : {std::function<void()>([&] { static_cast<void>(pool.acquire(1234)); }),
                              std::function<void()>([&] { static_cast<void>(pool.get_buffer(1234)); })}) {
    try {
      acquire();
      FAIL() << "nothing thrown";
    } catch (const budget_exceeded& failure) {
      EXPECT_EQ(failure.requested_bytes(), 1234U);
      EXPECT_EQ(failure.limit_bytes(), 8192U);
      const std::string text = failure.what();
      EXPECT_NE(text.find("1234"), std::string::npos) << text;
      EXPECT_NE(text.find("8192"), std::string::npos) << text;
      EXPECT_TRUE(text.ends_with(", of which " + std::to_string(pool.stats().bytes) + " are taken")) << text;
    }
  }
  EXPECT_EQ(pool.stats().refused, 2U);
}

TYPED_TEST(basic_pool_test, OversizeBuffersCountAgainstTheBudgetInWholePages) {
  TypeParam pool(with_budget(largest + 2 * page_size()));
  EXPECT_FALSE(pool.try_acquire(largest + 2 * page_size() + 1));
  buffer exact = pool.acquire(largest + page_size() + 1);
  EXPECT_EQ(pool.stats().bytes, largest + 2 * page_size());
  EXPECT_FALSE(pool.try_acquire(1));
  exact.release();
  EXPECT_TRUE(pool.try_acquire(1));
}

// All the cache may hold is in it, in blocks of other classes than the one asked for.
TYPED_TEST(basic_pool_test, CachedMemoryIsGivenUpBeforeARequestIsRefused) {
  constexpr std::size_t budget = std::size_t{4} << 20;
  for (const std::size_t rest :
       std::initializer_list<std::size_t>{budget / 4, largest * 4}) {  // four of the largest class, one oversize
    TypeParam pool(with_budget(budget));
    {
      std::vector<buffer> small;
      for (int count = 0; count < 2000; ++count) small.push_back(pool.acquire(64));
    }
    ASSERT_GT(pool.stats().cached_bytes, 0U);
    std::vector<buffer> held;
    for (std::size_t taken = 0; taken < budget; taken += rest) {
      held.push_back(pool.try_acquire(rest));
      EXPECT_TRUE(held.back()) << rest << " at " << taken;
    }
    EXPECT_EQ(pool.stats().cached, 0U);
    EXPECT_EQ(pool.stats().refused, 0U);
    EXPECT_EQ(pool.stats().bytes_high_water, budget);
    EXPECT_TRUE(pool.check_invariants());
  }
}

TYPED_TEST(basic_pool_test, ABudgetBelowTheSmallestClassIsInvalid) {
  pool_options options = with_budget(1023);
  options.size_classes = {1024, 4096};
  EXPECT_THROW(TypeParam{options}, std::invalid_argument);
  options.budget_bytes_max = 0;
  EXPECT_THROW(TypeParam{options}, std::invalid_argument);
  options.budget_bytes_max = 1024;
  TypeParam pool(options);
  const buffer only = pool.acquire(1);
  EXPECT_FALSE(pool.try_acquire(1));
}

TYPED_TEST(basic_pool_test, TrimGivesTheMemoryBackAndItComesBackZero) {
  support::failing_page_source pages;
  TypeParam pool(with_pages(pages));
  std::vector<buffer> held;
  for (int count = 0; count < 10; ++count) {
    held.push_back(pool.acquire(64 << 10));
    std::memset(held.back().data(), 0xab, held.back().size());
  }
  const buffer kept = std::move(held.back());
  held.clear();
  EXPECT_GE(pool.trim(), std::size_t{9} * (64 << 10));
  EXPECT_EQ(pool.stats().cached, 0U);
  EXPECT_EQ(kept.data()[kept.size() - 1], std::byte{0xab});
  EXPECT_TRUE(pool.check_invariants());
  for (int count = 0; count < 20; ++count) {
    held.push_back(pool.acquire(64 << 10));
    ASSERT_TRUE(is_zero(held.back().prepare()));
  }
}

TYPED_TEST(basic_pool_test, TrimOfAnIdlePoolUnmapsEverything) {
  support::failing_page_source pages;
  TypeParam pool(with_pages(pages));
  EXPECT_EQ(pool.trim(), 0U);
  for (const std::size_t size : std::initializer_list<std::size_t>{10, 1000, 100000})
    pool.acquire(size).data()[0] = std::byte{1};
  EXPECT_GT(pool.trim(), 0U);
  pages.expect_all_unmapped();
  EXPECT_EQ(pool.trim(), 0U);
  EXPECT_TRUE(pool.acquire(100));
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, ARefusedPurgeCostsMemoryButNotThePromise) {
  support::failing_page_source pages;
  TypeParam pool(with_pages(pages));
  const buffer kept = pool.acquire(8192);
  {
    buffer written = pool.acquire(8192);
    std::memset(written.data(), 0xff, written.size());
  }
  pages.refuse_purge(true);
  pool.trim();
  for (int count = 0; count < 10; ++count) EXPECT_TRUE(is_zero(pool.acquire(8192).prepare()));
}

// Acquires of every kind, each of which may find no memory, then everything back.
template <class Pool>
void use_pool_that_may_fail(Pool& pool, support::failing_page_source& pages) {
  std::vector<buffer> held;
  std::uint64_t refused = 0;
  for (const std::size_t size :
       std::initializer_list<std::size_t>{std::size_t{10}, std::size_t{5000}, largest, 3 * largest, std::size_t{100}}) {
    for (int count = 0; count < 9; ++count) {
      held.push_back(pool.try_acquire(size));
      refused += held.back() ? 0U : 1U;
    }
    ASSERT_TRUE(pool.check_invariants());
  }
  EXPECT_EQ(pool.stats().refused, refused);
  EXPECT_TRUE(refused == 0 || pages.failed());
  for (const buffer& each : held) {
    if (each) {
      ASSERT_EQ(each.data()[each.capacity() - 1], std::byte{0});
    }
  }
  held.clear();
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(basic_pool_test, SurvivesTheFailureOfAnyMapping) {
  bool failed = true;
  for (std::uint64_t nth = 1; failed; ++nth) {
    SCOPED_TRACE("map() number " + std::to_string(nth));
    support::failing_page_source pages;
    {
      TypeParam pool(with_pages(pages));
      pages.fail_map(nth);
      use_pool_that_may_fail(pool, pages);
      failed = pages.failed();
      pages.stop_failing();
      EXPECT_TRUE(pool.try_acquire(largest + 1));
    }
    pages.expect_all_unmapped();
    ASSERT_LT(nth, 100U);
  }
}

TYPED_TEST(basic_pool_test, SurvivesASystemWithoutMoreMemory) {
  bool failed = true;
  for (std::uint64_t nth = 1; failed; ++nth) {
    SCOPED_TRACE("map() from number " + std::to_string(nth));
    support::failing_page_source pages;
    {
      TypeParam pool(with_pages(pages));
      pages.fail_maps_from(nth);
      use_pool_that_may_fail(pool, pages);
      failed = pages.failed();
      if (failed) {
        try {
          static_cast<void>(pool.acquire(largest + 1));
          ADD_FAILURE() << "nothing thrown";
        } catch (const budget_exceeded&) {
          ADD_FAILURE() << "no budget was set";
        } catch (const acquire_failed& failure) {
          EXPECT_EQ(failure.requested_bytes(), largest + 1);
          EXPECT_EQ(failure.limit_bytes(), 0U);
        }
      }
      pages.stop_failing();
      EXPECT_TRUE(pool.try_acquire(5000));
      EXPECT_TRUE(pool.check_invariants());
    }
    pages.expect_all_unmapped();
    ASSERT_LT(nth, 100U);
  }
}

TYPED_TEST(basic_pool_test, WithoutACacheEveryBufferStillComesBack) {
  pool_options options;
  options.cache_bytes_max = 0;
  TypeParam pool(options);
  for (int round = 0; round < 100; ++round) {
    const buffer one = pool.acquire(100);
    const buffer two = pool.acquire(100);
  }
  const pool_stats now = pool.stats();
  EXPECT_EQ(now.acquired, 200U);
  EXPECT_EQ(now.hits, 0U);
  EXPECT_EQ(now.cached, 0U);
  EXPECT_EQ(now.slabs, 1U);
  EXPECT_TRUE(pool.check_invariants());
}

// One small block in use keeps its own page, not its slab.
TYPED_TEST(basic_pool_test, TrimReturnsThePagesBetweenSmallBlocksInUse) {
  support::failing_page_source pages;
  TypeParam pool(support::with_pages(pages));
  constexpr std::size_t size = 256;
  constexpr std::size_t count = 16384;  // 4 MiB
  std::vector<buffer> kept;
  {
    std::vector<buffer> all;
    for (std::size_t index = 0; index < count; ++index) all.push_back(pool.acquire(size));
    for (std::size_t index = 0; index < count; index += 256) kept.push_back(std::move(all[index]));
  }
  kept.front().data()[0] = std::byte{42};
  const std::size_t trimmed_bytes = pool.trim();
  EXPECT_GE(trimmed_bytes, count * size - 2 * kept.size() * page_size());
  EXPECT_GE(pages.purged_bytes(), trimmed_bytes);
  EXPECT_EQ(kept.front().data()[0], std::byte{42});
  EXPECT_EQ(pool.acquire(size).data()[0], std::byte{0});
}

TYPED_TEST(basic_pool_test, PoolsKeepApart) {
  TypeParam first;
  TypeParam second;
  {
    const buffer one = first.acquire(100);
    const buffer two = second.acquire(100);
    EXPECT_NE(one.data(), two.data());
    EXPECT_EQ(first.stats().in_use, 1U);
    EXPECT_EQ(second.stats().in_use, 1U);
  }
  EXPECT_NE(first.core().id(), second.core().id());
  EXPECT_TRUE(first.check_invariants());
  EXPECT_TRUE(second.check_invariants());
}

}  // namespace
}  // namespace slabbuf
