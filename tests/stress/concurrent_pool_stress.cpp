// SPDX-License-Identifier: MIT
// Rounds of what a server does at its worst: buffers of random sizes, freed on other threads than
// they were taken on, threads that come and go, memory trimmed and decaying meanwhile. After each round every law
// of the pool must hold, and every byte of every buffer was its holder's alone.
#include <slabbuf/pool/concurrent_pool.hpp>

#include "support/both_pools.hpp"
#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

constexpr int thread_count = 4;
constexpr int round_count = 20;
constexpr int step_count = 5000;

// Where threads leave buffers for each other. Few slots, so that a buffer seldom stays with its taker.
class exchange {
 public:
  buffer swap(std::size_t index, buffer given) {
    slot& at = slots_[index % slots_.size()];
    const std::lock_guard lock(at.mutex);
    return std::exchange(at.held, std::move(given));
  }

 private:
  struct slot {
    std::mutex mutex;
    buffer held;
  };
  std::array<slot, 64> slots_;
};

// A pattern in the first and the last byte, which fits the size: what another holder wrote does not.
std::byte pattern_of(const buffer& held) { return std::byte{static_cast<unsigned char>(held.size() % 255 + 1)}; }

void sign(buffer& held) {
  if (held.empty()) return;
  const std::span<std::byte> all = held.writable(held.size());
  all.front() = all.back() = pattern_of(held);
}

bool is_signed(const buffer& held) {
  return held.empty() || (held.data()[0] == pattern_of(held) && held.data()[held.size() - 1] == pattern_of(held));
}

// The ends of a buffer, where earlier holders wrote.
bool is_fresh(const buffer& held) {
  return held.data()[0] == std::byte{0} && held.data()[held.capacity() - 1] == std::byte{0} &&
         (held.empty() || held.data()[held.size() - 1] == std::byte{0});
}

struct faults {
  std::atomic<int> not_fresh{0};
  std::atomic<int> overwritten{0};
};

void put_raw(concurrent_pool& pool, std::size_t size) {
  try {
    const raw_buffer raw = pool.get_buffer(size);
    raw.data[raw.class_size - 1] = std::byte{0xff};
    pool.put_buffer(raw);
  } catch (const budget_exceeded&) {
    // The other threads have it all at the moment.
  }
}

void work(concurrent_pool& pool, exchange& others, faults& found, std::uint64_t seed) {
  support::seeded_random random(seed);
  std::vector<buffer> held;
  for (int step = 0; step < step_count; ++step) {
    if (buffer got = pool.try_acquire(random.magnitude(random.one_in(200) ? 22 : 15))) {
      if (!is_fresh(got)) ++found.not_fresh;
      sign(got);
      held.push_back(random.one_in(2) ? others.swap(random.bits(), std::move(got)) : std::move(got));
      if (held.back() && !is_signed(held.back())) ++found.overwritten;
    }
    if (random.one_in(10)) put_raw(pool, random.magnitude(10));
    while (held.size() > 40 || (!held.empty() && random.one_in(2))) {
      std::swap(held[random.between(0, held.size() - 1)], held.back());
      if (held.back() && !is_signed(held.back())) ++found.overwritten;
      held.pop_back();
    }
    if (random.one_in(1000)) pool.trim();
    if (random.one_in(100)) pool.decay();
  }
}

void run_rounds(pool_options options) {
  options.decay = std::chrono::milliseconds(1);
  concurrent_pool pool(options);
  for (std::uint64_t round = 0; round < round_count; ++round) {
    faults found;
    {
      exchange others;
      std::vector<std::thread> threads;
      for (std::uint64_t thread = 0; thread < thread_count; ++thread) {
        threads.emplace_back([&, seed = 1000 * round + thread] { work(pool, others, found, seed); });
      }
      for (std::thread& each : threads) each.join();
      EXPECT_TRUE(pool.check_invariants()) << "with buffers out, round " << round;
    }
    EXPECT_EQ(found.not_fresh, 0);
    EXPECT_EQ(found.overwritten, 0);
    EXPECT_EQ(pool.stats().in_use, 0U);
    EXPECT_TRUE(pool.holders().empty());
    ASSERT_TRUE(pool.check_invariants()) << "round " << round;
  }
  // Only this thread is left, with what it released of the exchange in its cache.
  EXPECT_LE(pool.stats().threads, 1U);
  pool.trim();
  EXPECT_EQ(pool.stats().cached, 0U);
  EXPECT_EQ(pool.stats().bytes, 0U);
}

TEST(concurrent_pool_stress, HoldsWithoutABudget) {
  support::failing_page_source pages;
  run_rounds(support::with_pages(pages));
}

TEST(concurrent_pool_stress, HoldsWithATightBudget) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.budget_bytes_max = std::size_t{6} << 20;
  run_rounds(options);
}

// So tight that threads take each other's caches away all the time.
TEST(concurrent_pool_stress, HoldsWhileThreadsReclaimFromEachOther) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.size_classes = {64, 1024, 32768};
  options.budget_bytes_max = std::size_t{700} << 10;
  run_rounds(options);
}

TEST(concurrent_pool_stress, HoldsWithSmallCachesAndOddClasses) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.cache_bytes_max = 10000;
  options.size_classes = {1, 7, 100, 1000, 1024, 17408, 100000};
  options.zero = zeroing::whole_block;
  run_rounds(options);
}

// Samples are taken and crossed off by whichever thread has the buffer at the time.
TEST(concurrent_pool_stress, HoldsWhileOneInThreeIsSampled) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.sample_period = 3;
  run_rounds(options);
}

TEST(concurrent_pool_stress, HoldsWhenEveryBlockIsChecked) {
  support::failing_page_source pages;
  pool_options options = support::with_pages(pages);
  options.harden = hardening::full;
  options.budget_bytes_max = std::size_t{16} << 20;
  run_rounds(options);
}

}  // namespace
}  // namespace slabbuf
