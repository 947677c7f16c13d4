// SPDX-License-Identifier: MIT
// Samples through the pools: who holds what, at which rate, at which places; and what misuse reports and
// tuned tables make of them.
#include <slabbuf/pool/provenance.hpp>

#include "support/both_pools.hpp"

#include <slabbuf/pool/pmr_resource.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

constexpr std::size_t oversize = (std::size_t{1} << 20) + 1;

pool_options sampling(std::uint32_t period) {
  pool_options options;
  options.sample_period = period;
  return options;
}

template <class Pool>
class provenance_test : public ::testing::Test {};
TYPED_TEST_SUITE(provenance_test, support::both_pools, support::pool_name);

TYPED_TEST(provenance_test, NothingIsSampledUnlessAskedFor) {
  TypeParam pool;
  const buffer held = pool.acquire(100);
  EXPECT_TRUE(pool.holders().empty());
  EXPECT_TRUE(pool.size_histogram().empty());
}

TYPED_TEST(provenance_test, APeriodOfOneSeesEveryHolderOfEveryKind) {
  TypeParam pool(sampling(1));
  pmr_resource memory(pool);
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : std::initializer_list<std::size_t>{1, 100, 5000, oversize}) {
      buffer held = pool.acquire(size);
      const raw_buffer raw = pool.get_buffer(size);
      void* const allocated = memory.allocate(size);
      const std::vector<provenance> holders = pool.holders();
      ASSERT_EQ(holders.size(), 3U) << size;
      EXPECT_EQ(holders[0].data, std::as_const(held).data());
      EXPECT_EQ(holders[0].size, size);
      EXPECT_EQ(holders[0].class_size, held.capacity());
      EXPECT_EQ(holders[1].data, raw.data);
      EXPECT_EQ(holders[2].data, allocated);
      memory.deallocate(allocated, size);
      pool.put_buffer(raw);
      held.release();
      EXPECT_TRUE(pool.holders().empty()) << size;
    }
  }
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(provenance_test, SamplesAtTheRateAskedForAndCountsAllTheSame) {
  constexpr std::uint32_t period = 50;
  constexpr std::uint64_t count = 100'000;
  TypeParam pool(sampling(period));
  for (std::uint64_t each = 0; each < count; ++each) pool.acquire(100).release();
  ASSERT_EQ(pool.size_histogram().size(), 1U);
  const std::uint64_t estimate = pool.size_histogram()[0].count;
  EXPECT_GT(estimate, count * 9 / 10);
  EXPECT_LT(estimate, count * 11 / 10);
  EXPECT_EQ(pool.stats().acquired, count);
  EXPECT_EQ(pool.stats().hits, count - pool.stats().misses);
  EXPECT_TRUE(pool.holders().empty());
  EXPECT_TRUE(pool.check_invariants());
}

// Two classes in turn, with a period that would hit the same one each time if samples had a rhythm.
TYPED_TEST(provenance_test, NoRhythmOfTheProgramHidesFromSamples) {
  TypeParam pool(sampling(2));
  std::uint64_t seen[2] = {};
  for (int each = 0; each < 10'000; ++each) {
    const buffer even = pool.acquire(64);
    const buffer odd = pool.acquire(64);
    for (const provenance& holder : pool.holders()) ++seen[holder.data == even.data() ? 0 : 1];
  }
  EXPECT_GT(seen[0], 3000U);
  EXPECT_GT(seen[1], 3000U);
}

// As when each connection has a thread, or a pool, that takes one buffer and ends.
TYPED_TEST(provenance_test, TheFirstAcquisitionIsAsLikelyAsAnyOther) {
  for (const std::uint32_t period : {2U, 3U, 4U, 16U}) {
    const std::uint64_t pools = 250 * period;  // a quarter more or less is four standard deviations, or more
    std::uint64_t estimate = 0;
    for (std::uint64_t each = 0; each < pools; ++each) {
      TypeParam pool(sampling(period));
      pool.acquire(100).release();
      for (const auto& size : pool.size_histogram()) estimate += size.count;
    }
    EXPECT_GT(estimate, pools * 3 / 4) << "period " << period;
    EXPECT_LT(estimate, pools * 5 / 4) << "period " << period;
  }
}

// Many that live for about a period: none of them is where samples have settled into their distances.
TYPED_TEST(provenance_test, ShortLivedCachesCountAsMuchAsLongLivedOnes) {
  constexpr std::uint32_t period = 20;
  constexpr std::uint64_t pools = 2000;
  std::uint64_t estimate = 0;
  for (std::uint64_t each = 0; each < pools; ++each) {
    TypeParam pool(sampling(period));
    for (std::uint32_t turn = 0; turn < period; ++turn) pool.acquire(100).release();
    for (const auto& size : pool.size_histogram()) estimate += size.count;
  }
  EXPECT_GT(estimate, pools * period * 9 / 10);
  EXPECT_LT(estimate, pools * period * 11 / 10);
}

TYPED_TEST(provenance_test, NoRhythmOfOversizeBuffersHidesEither) {
  TypeParam pool(sampling(2));
  for (int each = 0; each < 2000; ++each) {
    pool.acquire(2 * oversize).release();
    pool.acquire(8 * oversize).release();
  }
  const auto sizes = pool.size_histogram();
  ASSERT_EQ(sizes.size(), 2U);
  for (const auto& each : sizes) {
    EXPECT_GT(each.count, 1600U) << each.size;
    EXPECT_LT(each.count, 2400U) << each.size;
  }
}

// A refusal uses up no sample: of those that are there, every one is known.
TYPED_TEST(provenance_test, APeriodOfOneMissesNoneWhereTheBudgetRunsOut) {
  pool_options options = sampling(1);
  options.size_classes = {1024, 4096};
  options.budget_bytes_max = 64 * 4096;
  TypeParam pool(options);
  for (int round = 0; round < 3; ++round) {
    std::vector<buffer> held;
    while (buffer next = pool.try_acquire(round % 2 == 0 ? 4096 : 1024)) held.push_back(std::move(next));
    EXPECT_EQ(pool.holders().size(), held.size());
  }
}

TYPED_TEST(provenance_test, SaysWhereInWords) {
  TypeParam pool(sampling(1));
  const buffer held = pool.acquire(100);
  const std::vector<provenance> holders = pool.holders();
  const std::string text = to_text(holders, holders.at(0).since + std::chrono::milliseconds(1500));
  EXPECT_EQ(text.find("100 bytes in a block of 128, held for 1500 ms by thread "), 0U) << text;
  EXPECT_NE(text.find("pool_test"), std::string::npos) << "the program in which it was acquired: " << text;
  EXPECT_EQ(to_text(std::span<const provenance>()), "");
}

TYPED_TEST(provenance_test, ATableTunedForWhatWasAskedForFitsEveryRequest) {
  TypeParam pool(sampling(1));
  for (const std::size_t size : std::initializer_list<std::size_t>{100, 1500, 1500, 1501, 9000, 9100, 16'000}) {
    pool.acquire(size).release();
  }
  const size_class_table tuned = size_class_table::tune(pool.size_histogram(), 3);
  EXPECT_EQ(tuned.largest(), 16'000U);
  EXPECT_NE(tuned.find_exact(1501), size_class_table::npos);
}

void print_sampled(const misuse_report& report) noexcept {
  std::fprintf(stderr, "%s sampled %s of %zu\n", to_string(report.kind), report.sampled != nullptr ? "yes" : "no",
               report.sampled != nullptr ? report.sampled->size : 0);
}

template <class Pool>
class provenance_death_test : public ::testing::Test {};
TYPED_TEST_SUITE(provenance_death_test, support::both_pools, support::pool_name);

TYPED_TEST(provenance_death_test, AReportSaysWhoHadTheBlock) {
  TypeParam pool(sampling(1));
  const raw_buffer raw = pool.get_buffer(77);
  EXPECT_DEATH(
      {
        pool.put_buffer(raw);
        pool.put_buffer(raw);
      },
      "slabbuf: double_put: address 0x.*\nslabbuf: block 0x.* was acquired for 77 bytes .* ms ago by thread .* at\n"
      ".*pool_test");
  EXPECT_DEATH(
      {
        set_misuse_handler(&print_sampled);
        pool.put_buffer(raw);
        pool.put_buffer(raw);
      },
      "double_put sampled yes of 77");
  TypeParam silent;
  const raw_buffer other = silent.get_buffer(77);
  EXPECT_DEATH(
      {
        set_misuse_handler(&print_sampled);
        silent.put_buffer(other);
        silent.put_buffer(other);
      },
      "double_put sampled no of 0");
  silent.put_buffer(other);
  pool.put_buffer(raw);
}

// Where every block is looked at, nobody is blamed for what a later holder did.
TYPED_TEST(provenance_death_test, AnEarlierHolderIsNotBlamed) {
  EXPECT_DEATH(
      {
        set_misuse_handler(&print_sampled);
        pool_options options = sampling(1'000'000);
        options.harden = hardening::cheap;
        TypeParam pool(options);
        pmr_resource memory(pool);
        void* block = nullptr;
        for (int count = 0; count < 8'000'000 && pool.size_histogram().empty(); ++count) {
          block = memory.allocate(100);
          memory.deallocate(block, 100);
        }
        block = memory.allocate(100);  // the same block, not sampled
        memory.deallocate(block, 100);
        memory.deallocate(block, 100);
      },
      "double_put sampled no of 0");
}

TYPED_TEST(provenance_death_test, APoolThatDiesInUseSaysWhoHasHadABufferTheLongest) {
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<TypeParam>(sampling(1));
        const buffer first = pool->acquire(123);
        const buffer second = pool->acquire(456);
        pool.reset();
      },
      "slabbuf: pool_died_in_use: .* with 2 buffers in use\nslabbuf: block 0x.* was acquired for 123 bytes");
}

TEST(provenance_of_threads_test, ASampledBufferMayDieOnAnyThread) {
  concurrent_pool pool(sampling(1));
  buffer held = pool.acquire(100);
  const std::int64_t here = pool.holders().at(0).thread;
  std::thread([&] {
    held.release();
    EXPECT_TRUE(pool.holders().empty());
    held = pool.acquire(100);
    EXPECT_NE(pool.holders().at(0).thread, here);
  }).join();
  EXPECT_EQ(pool.holders().size(), 1U);
}

}  // namespace
}  // namespace slabbuf
