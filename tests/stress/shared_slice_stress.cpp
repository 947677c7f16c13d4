// SPDX-License-Identifier: MIT
// Several owners of one block, on several threads: they come, write, look and go in every order. The bytes each looks
// at stay as they were, the block goes back once, and is zero then. Steps are ordered by barriers and joins;
// what is left to chance must not change what is asserted.
#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include "support/both_pools.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::is_zero;

constexpr std::size_t thread_count = 4;

// Runs work(thread, round) on all threads at once, and check(round) between rounds, alone.
template <class Work, class Check>
void in_rounds(int round_count, Work work, Check check) {
  int round = 0;
  std::barrier both(thread_count, [&]() noexcept {});
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&, thread] {
      for (int each = 0; each < round_count; ++each) {
        if (thread == 0) check(round++);
        both.arrive_and_wait();
        work(thread, each);
        both.arrive_and_wait();
      }
    });
  }
  for (std::thread& each : threads) each.join();
  check(round);
}

// Many blocks a round, which all threads leave in the same order; the last two wait for each other at each, so that
// both find that they are not alone, and one is last all the same.
TEST(shared_slice_stress, OwnersLeaveAtTheSameMoment) {
  constexpr std::size_t block_count = 100;
  concurrent_pool pool;
  struct shared_block {
    buffer owner;
    std::array<shared_slice, thread_count> slices;
  };
  std::array<shared_block, block_count> blocks;
  std::atomic<std::size_t> arrived{0};
  in_rounds(
      300,
      [&](std::size_t thread, int round) {
        std::size_t expected = 0;
        for (shared_block& each : blocks) {
          expected += 2;
          if (thread < 2) {
            ++arrived;
            while (arrived < expected) std::this_thread::yield();
          }
          // One of them has the buffer, and has written.
          if (thread == static_cast<std::size_t>(round) % thread_count) {
            std::memset(each.owner.writable(1000).data() + 500, 0xa5, 500);
            each.owner.release();
          }
          EXPECT_EQ(each.slices[thread].span()[thread], std::byte{0x5a});
          each.slices[thread].release();
        }
      },
      [&](int) {
        EXPECT_EQ(pool.stats().in_use, 0U);
        arrived = 0;
        for (shared_block& each : blocks) {
          each.owner = pool.acquire(1000);
          EXPECT_TRUE(is_zero(each.owner.prepare()));
          each.owner.commit(1000);
          std::memset(each.owner.writable(10).data(), 0x5a, 10);
          for (shared_slice& slice : each.slices) slice = each.owner.share(0, 100);
        }
      });
  for (shared_block& each : blocks) each = {};
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

// Who is alone again may write: what the others have read before they left was read in time.
TEST(shared_slice_stress, WhoIsAloneSeesThatTheOthersAreDone) {
  concurrent_pool pool;
  std::array<shared_slice, thread_count> slices;
  buffer_chain chain;
  in_rounds(
      1000,
      [&](std::size_t thread, int) {
        if (thread == 0) {
          while (!chain.pieces().front().is_alone()) std::this_thread::yield();
          chain.append_copy(pool, std::as_bytes(std::span("xyz", 3)));
          EXPECT_EQ(chain.block_count(), 1U);
          EXPECT_EQ(chain.size(), 13U);
        } else {
          EXPECT_EQ(slices[thread].span().front(), std::byte{'a'});
          shared_slice more = slices[thread].share(1, 3);
          slices[thread].release();
          EXPECT_EQ(more.span().front(), std::byte{'b'});
        }
      },
      [&](int) {
        chain.clear();
        EXPECT_EQ(pool.stats().in_use, 0U);
        buffer owner = pool.acquire(100);
        EXPECT_TRUE(is_zero(owner.prepare()));
        owner.commit(10);
        std::memcpy(owner.data(), "abcdefghij", 10);
        for (std::size_t thread = 1; thread < thread_count; ++thread) slices[thread] = owner.share();
        chain = buffer_chain(std::move(owner));
      });
  for (shared_slice& each : slices) each.release();
  chain.clear();
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// Each is the first to share a block of the same slab.
TEST(shared_slice_stress, TheFirstSharesOfASlabHappenAtOnce) {
  std::optional<concurrent_pool> pool;
  std::array<buffer, thread_count> owners;
  in_rounds(
      200,
      [&](std::size_t thread, int) {
        shared_slice one = owners[thread].share();
        EXPECT_FALSE(one.unique());
        const shared_slice two = one.share();
        owners[thread].release();
        one.release();
        EXPECT_TRUE(two.unique());
      },
      [&](int) {
        for (buffer& each : owners) each.release();
        pool.emplace();
        for (buffer& each : owners) each = pool->acquire(100);
      });
  for (buffer& each : owners) each.release();
  EXPECT_TRUE(pool->check_invariants());
}

// Where threads leave chains for each other.
class exchange {
 public:
  buffer_chain swap(std::size_t index, buffer_chain given) {
    slot& at = slots_[index % slots_.size()];
    const std::lock_guard lock(at.mutex);
    return std::exchange(at.held, std::move(given));
  }

 private:
  struct slot {
    std::mutex mutex;
    buffer_chain held;
  };
  std::array<slot, 32> slots_;
};

// Every byte of a block is written once, with its number in the message, before anybody shares it.
struct faults {
  std::atomic<int> not_fresh{0};
  std::atomic<int> overwritten{0};
};

void fill(buffer& fresh) {
  unsigned char next = 1;
  for (std::byte& each : fresh.writable(fresh.size())) each = std::byte{next++};
}

// Each byte is one more than the one before in its piece.
bool is_whole(const buffer_chain& held) {
  for (const std::span<const std::byte> each : held.spans()) {
    for (std::size_t index = 1; index < each.size(); ++index) {
      if (each[index] != std::byte{static_cast<unsigned char>(std::to_integer<int>(each[index - 1]) + 1)}) return false;
    }
  }
  return true;
}

void work(concurrent_pool& pool, bool cleared, exchange& others, faults& found, std::uint64_t seed) {
  support::seeded_random random(seed);
  buffer_chain held;
  std::vector<shared_slice> slices;
  for (int step = 0; step < 4000; ++step) {
    switch (random.between(0, 6)) {
      case 0:
      case 1: {
        buffer got = pool.try_acquire(random.magnitude(12));
        if (!got) break;
        if (cleared && !is_zero(got.prepare())) ++found.not_fresh;
        got.commit(got.size());
        fill(got);
        if (!got.empty()) slices.push_back(got.share());
        held.append(std::move(got));
        break;
      }
      case 2: held = others.swap(random.bits(), std::move(held)); break;
      case 3: static_cast<void>(others.swap(random.bits(), held.split(random.between(0, held.size())))); break;
      case 4: {
        const std::size_t position = random.between(0, held.size());
        held.append(held.share(position, random.between(0, std::min<std::size_t>(held.size() - position, 2000))));
        break;
      }
      case 5: held.consume(random.between(0, held.size())); break;
      default:
        if (slices.empty()) break;
        std::swap(slices[random.between(0, slices.size() - 1)], slices.back());
        slices.pop_back();
    }
    if (!is_whole(held)) ++found.overwritten;
    if (slices.size() > 50) slices.clear();
    if (held.block_count() > 50) held.clear();
    if (random.one_in(500)) pool.trim();
  }
}

TEST(shared_slice_stress, ChainsTravelBetweenThreadsAndABlockIsZeroWhenItComesBack) {
  std::uint64_t seed = 310;
  for (const zeroing policy : {zeroing::none, zeroing::whole_block, zeroing::dirty_extent}) {
    for (const hardening level : {hardening::off, hardening::full}) {
      if (policy == zeroing::none && level != hardening::off) continue;
      pool_options options = support::with_zeroing(policy);
      options.harden = level;
      options.budget_bytes_max = std::size_t{1} << 20;
      options.sample_period = level == hardening::off ? 0 : 7;
      concurrent_pool pool(options);
      faults found;
      {
        exchange others;
        std::vector<std::thread> threads;
        for (std::size_t thread = 0; thread < thread_count; ++thread) {
          threads.emplace_back(
              [&, own_seed = ++seed] { work(pool, policy != zeroing::none, others, found, own_seed); });
        }
        for (std::thread& each : threads) each.join();
        EXPECT_TRUE(pool.check_invariants()) << "with buffers out";
      }
      EXPECT_EQ(found.not_fresh, 0);
      EXPECT_EQ(found.overwritten, 0);
      EXPECT_EQ(pool.stats().in_use, 0U);
      EXPECT_TRUE(pool.holders().empty());
      EXPECT_TRUE(pool.check_invariants());
    }
  }
}

}  // namespace
}  // namespace slabbuf
