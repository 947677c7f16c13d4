// SPDX-License-Identifier: MIT
// Memory that is not needed goes back to the system epoch by epoch: after two of them nothing is left of a
// burst, and what is in use all the time stays. The clock is the test's own.
#include "support/both_pools.hpp"
#include "support/failing_page_source.hpp"
#include "support/sanitizers.hpp"

#include <slabbuf/pool/detail/thread_slots.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds period{10};

pool_options decaying(page_source* pages = nullptr) {
  pool_options options;
  options.decay = period;
  options.pages = pages;
  return options;
}

template <class Pool>
class decay_test : public ::testing::Test {
 protected:
  // Lets one period pass.
  std::size_t tick() { return pool_.decay(now_ += period); }
  std::uint64_t resident_bytes() { return pool_.stats().resident_bytes; }

  support::failing_page_source pages_;
  Pool pool_{decaying(&pages_)};
  steady_clock::time_point now_ = steady_clock::now();
};
TYPED_TEST_SUITE(decay_test, support::both_pools, support::pool_name);

void touch(const buffer& held) { std::memset(const_cast<std::byte*>(std::as_const(held).data()), 0, held.capacity()); }

template <class Pool>
void burst(Pool& pool, std::size_t bytes, std::size_t size) {
  std::vector<buffer> held;
  for (std::size_t taken = 0; taken < bytes; taken += size) touch(held.emplace_back(pool.acquire(size)));
}

TYPED_TEST(decay_test, NothingIsLeftOfABurstAfterTwoPeriods) {
  for (const std::size_t size : std::initializer_list<std::size_t>{64, 4096, 65'536, 1'048'576, 2'000'000}) {
    burst(this->pool_, std::size_t{32} << 20, size);
    EXPECT_GT(this->resident_bytes(), std::size_t{1} << 20) << size;
    this->tick();
    this->tick();
    EXPECT_EQ(this->resident_bytes(), 0U) << size;
    const pool_stats now = this->pool_.stats();
    EXPECT_EQ(now.bytes, 0U) << size;
    EXPECT_EQ(now.slabs, 0U) << size;
    EXPECT_TRUE(this->pool_.check_invariants());
  }
}

TYPED_TEST(decay_test, DoesNothingBeforeThePeriodIsOver) {
  burst(this->pool_, std::size_t{8} << 20, 4096);
  this->tick();
  const std::uint64_t before = this->resident_bytes();
  for (int call = 0; call < 100; ++call) EXPECT_EQ(this->pool_.decay(this->now_ + period / 2), 0U);
  EXPECT_EQ(this->resident_bytes(), before);
  EXPECT_GT(this->tick(), 0U);
}

// Hysteresis: what every period needs does not go back and forth.
TYPED_TEST(decay_test, WhatEveryPeriodNeedsStays) {
  for (int epoch = 0; epoch < 6; ++epoch) {
    burst(this->pool_, std::size_t{16} << 20, 4096);
    this->tick();
  }
  const std::size_t purged = this->pages_.purged_bytes();
  EXPECT_GE(this->resident_bytes(), std::size_t{16} << 20);
  for (int epoch = 0; epoch < 5; ++epoch) {
    burst(this->pool_, std::size_t{16} << 20, 4096);
    this->tick();
  }
  // Which slabs a burst ends in is not always the same: a slab or two of 64 KiB each time, of 16 MiB.
  EXPECT_LE(this->pages_.purged_bytes() - purged, 5 * (std::size_t{128} << 10));
}

TYPED_TEST(decay_test, AnIdleClassGoesWhileAnotherIsInUse) {
  burst(this->pool_, std::size_t{1} << 20, 4096);
  for (int epoch = 0; epoch < 3; ++epoch) {
    burst(this->pool_, 64 * 10, 64);
    this->tick();
  }
  const pool_stats now = this->pool_.stats();
  for (const class_stats& each : now.classes()) {
    if (each.size == 4096) {
      EXPECT_EQ(each.cached + each.slabs, 0U);
    } else if (each.size == 64) {
      EXPECT_GT(each.cached, 0U);
    }
  }
}

// The receiving end of a pipeline: its bin fills, overflows and is as deep as before.
TYPED_TEST(decay_test, ABinThatOnlyReceivesIsInUse) {
  constexpr int count = 1000;
  for (int epoch = 0; epoch < 4; ++epoch) {
    std::vector<raw_buffer> raw;
    for (int each = 0; each < count; ++each) raw.push_back(this->pool_.get_buffer(1024));
    for (const raw_buffer& each : raw) this->pool_.put_buffer(each);
    this->tick();
    for (const pool_stats now = this->pool_.stats(); const class_stats& each : now.classes()) {
      if (each.size == 1024) {
        EXPECT_GT(each.cached, 0U) << "epoch " << epoch;
      }
    }
  }
}

TYPED_TEST(decay_test, AKeptOversizeBufferStaysForOnePeriod) {
  this->pool_.acquire(std::size_t{3} << 19).release();
  this->tick();
  EXPECT_EQ(this->pool_.stats().cached, 1U);
  this->tick();
  EXPECT_EQ(this->pool_.stats().cached, 0U);
}

TEST(decay_period_test, LongOnesAreLikeNeverAndNegativeOnesAreOff) {
  for (const std::chrono::milliseconds wanted :
       {std::chrono::milliseconds::max(), std::chrono::milliseconds(std::chrono::hours(24 * 365 * 292)),
        std::chrono::milliseconds::min(), std::chrono::milliseconds(-1)}) {
    pool_options options;
    options.decay = wanted;
    local_pool pool(options);
    burst(pool, std::size_t{1} << 20, 4096);
    const std::uint64_t resident = pool.stats().resident_bytes;
    EXPECT_GE(pool.decay_period().count(), 0);
    for (int day = 1; day < 10; ++day) EXPECT_EQ(pool.decay(steady_clock::now() + std::chrono::hours(24 * day)), 0U);
    EXPECT_EQ(pool.stats().resident_bytes, resident);
  }
}

TYPED_TEST(decay_test, BlocksInUseAreLeftAloneAndFreePagesBetweenThemGo) {
  std::vector<buffer> held;
  for (int count = 0; count < 256; ++count) {
    buffer& made = held.emplace_back(this->pool_.acquire(4096));
    std::memset(made.data(), 1, 4096);
  }
  for (std::size_t index = 0; index < held.size(); index += 2) held[index].release();
  this->tick();
  this->tick();
  this->tick();
  EXPECT_EQ(this->resident_bytes(), std::size_t{128} * 4096);
  for (std::size_t index = 1; index < held.size(); index += 2) {
    EXPECT_EQ(std::as_const(held[index]).data()[4095], std::byte{1});
  }
  EXPECT_TRUE(this->pool_.check_invariants());
}

TYPED_TEST(decay_test, APeriodOfZeroSwitchesItOff) {
  pool_options options;
  options.decay = std::chrono::milliseconds(0);
  TypeParam pool(options);
  burst(pool, std::size_t{8} << 20, 4096);
  const std::uint64_t resident = pool.stats().resident_bytes;
  for (int epoch = 1; epoch < 5; ++epoch) EXPECT_EQ(pool.decay(steady_clock::now() + epoch * period), 0U);
  EXPECT_EQ(pool.stats().resident_bytes, resident);
}

TYPED_TEST(decay_test, ARefusalOfTheSystemLosesNothing) {
  burst(this->pool_, std::size_t{8} << 20, 4096);
  this->pages_.refuse_purge(true);
  this->tick();
  this->tick();
  EXPECT_TRUE(this->pool_.check_invariants());
  burst(this->pool_, std::size_t{8} << 20, 4096);
  EXPECT_TRUE(this->pool_.check_invariants());
}

// What /proc says of the memory of this process.
std::size_t process_resident_bytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  std::size_t pages = 0;
  if (file == nullptr || std::fscanf(file, "%*s %zu", &pages) != 1) ADD_FAILURE() << "no /proc/self/statm";
  if (file != nullptr) std::fclose(file);
  return pages * page_size();
}

// The thread that had the burst stays and never comes back to the pool, or is gone.
class decay_of_a_burst_test : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, decay_of_a_burst_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "OfAThreadThatStays" : "OfAThreadThatExits"; });

TEST_P(decay_of_a_burst_test, LeavesTheProcessAsSmallAsItWas) {
#if defined(SLABBUF_SANITIZED)
  GTEST_SKIP() << "the sanitizer's own memory grows with ours";
#endif
  if (!detail::heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here: caches of other threads stay out of reach";
  concurrent_pool pool(decaying());
  burst(pool, std::size_t{4} << 20, 16'384);
  const std::size_t resting = process_resident_bytes();

  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool may_exit = !GetParam();
  std::thread worker([&] {
    burst(pool, std::size_t{1} << 30, 16'384);
    std::unique_lock lock(mutex);
    done = true;
    changed.notify_all();
    changed.wait(lock, [&] { return may_exit; });
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
  }
  if (!GetParam()) worker.join();
  EXPECT_GT(process_resident_bytes(), resting + (std::size_t{256} << 20)) << "there was a burst";

  steady_clock::time_point now = steady_clock::now();
  pool.decay(now += period);
  pool.decay(now += period);
  EXPECT_LE(process_resident_bytes(), resting + resting / 20);
  EXPECT_EQ(pool.stats().bytes, 0U);
  if (GetParam()) {
    const std::lock_guard lock(mutex);
    may_exit = true;
    changed.notify_all();
  }
  if (worker.joinable()) worker.join();
}

}  // namespace
}  // namespace slabbuf
