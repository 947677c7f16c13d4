// SPDX-License-Identifier: MIT
// What threads do to a pool together. Steps are ordered by latches and joins, never by time; what
// is left to chance (who runs when) must not change what is asserted.
#include <slabbuf/pool/concurrent_pool.hpp>

#include "support/both_pools.hpp"
#include "support/failing_page_source.hpp"
#include "support/sanitizers.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <latch>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

// Runs `work` on a thread of its own, to its end.
template <class Work>
void on_another_thread(Work work) {
  std::thread(std::move(work)).join();
}

// Gets and puts of a few sizes, so that the thread has something in its cache.
void warm_up(concurrent_pool& pool) {
  for (const std::size_t size : std::initializer_list<std::size_t>{10, 100, 1000, 5000}) {
    const buffer one = pool.acquire(size);
    const buffer two = pool.acquire(size);
  }
}

TEST(concurrent_pool_test, ThreadsHaveACacheEach) {
  concurrent_pool pool;
  EXPECT_EQ(pool.stats().threads, 0U);
  warm_up(pool);
  EXPECT_EQ(pool.stats().threads, 1U);
  on_another_thread([&] {
    warm_up(pool);
    EXPECT_EQ(pool.stats().threads, 2U);
  });
  EXPECT_EQ(pool.stats().threads, 1U);
}

// Nobody uses the pool any more, but its threads are still about to end while it dies.
TEST(concurrent_pool_test, MayDieWhileThreadsThatUsedItExit) {
  constexpr int thread_count = 8;
  for (int round = 0; round < 100; ++round) {
    std::optional<concurrent_pool> pool(std::in_place);
    std::latch done(thread_count);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < thread_count; ++thread) {
      threads.emplace_back([&] {
        warm_up(*pool);
        done.count_down();
      });
    }
    done.wait();
    pool.reset();
    for (std::thread& each : threads) each.join();
  }
}

#if !defined(SLABBUF_SANITIZED)
// A child of a threaded program may have pools of its own, and ends, whatever its parent's threads were
// doing at the moment of the fork.
TEST(concurrent_pool_test, AForkedChildMayUsePoolsOfItsOwnAndEnds) {
  concurrent_pool parents;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&] {
      while (!stop) {
        const concurrent_pool short_lived;
        std::thread([&] { warm_up(parents); }).join();
      }
    });
  }
  warm_up(parents);
  std::fflush(nullptr);
  for (int round = 0; round < 100; ++round) {
    const ::pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      {
        concurrent_pool own;
        warm_up(own);
      }
      // Where thread_local objects and static ones are destroyed, as at the end of main().
      std::exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  for (std::thread& each : threads) each.join();
}
#endif

TEST(concurrent_pool_test, BuffersMayBeReleasedOnAnyThread) {
  concurrent_pool pool;
  std::vector<buffer> held;
  for (int count = 0; count < 300; ++count) held.push_back(pool.acquire(1000));
  on_another_thread([held = std::move(held)]() mutable { held.clear(); });
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(pool.stats().released, 300U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, AThreadThatOnlyReleasesGivesTheBlocksOnToTheOthers) {
  concurrent_pool pool;
  for (int round = 0; round < 20; ++round) {
    std::vector<buffer> held;
    for (int count = 0; count < 500; ++count) held.push_back(pool.acquire(4096));
    on_another_thread([&] { held.clear(); });
    EXPECT_LE(pool.stats().bytes_high_water, (500 + detail::bin::room_max) * 4096) << "round " << round;
  }
}

// What a thread has cached is out of reach for others, until the budget would have to say no.
TEST(concurrent_pool_test, ReclaimsWhatOtherThreadsHaveCachedToTrimAndBeforeItRefuses) {
  if (!detail::heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  constexpr std::size_t size = 4096;
  constexpr std::size_t count = 256;
  concurrent_pool pool({.budget_bytes_max = count * size});
  std::latch released(3);
  std::latch used_again(1);
  std::latch released_again(3);
  std::latch checked(1);
  std::vector<std::thread> idle;
  for (int thread = 0; thread < 3; ++thread) {
    idle.emplace_back([&] {
      const auto use = [&] {
        for (int index = 0; index < 40; ++index) {
          std::vector<buffer> held;
          for (int each = 0; each < 20; ++each) held.push_back(pool.try_acquire(size));
        }
      };
      use();
      released.count_down();
      used_again.wait();
      use();
      released_again.count_down();
      checked.wait();
      EXPECT_TRUE(pool.try_acquire(100)) << "a thread whose cache was taken goes on";
    });
  }
  released.wait();
  EXPECT_GT(pool.stats().cached, 0U);
  EXPECT_GT(pool.trim(), 0U);
  EXPECT_EQ(pool.stats().cached, 0U) << "of all threads";
  EXPECT_EQ(pool.stats().bytes, 0U);
  used_again.count_down();
  released_again.wait();
  EXPECT_GT(pool.stats().cached, 0U);
  {
    std::vector<buffer> all;
    for (std::size_t index = 0; index < count; ++index) {
      all.push_back(pool.try_acquire(size));
      EXPECT_TRUE(all.back()) << index;
    }
    EXPECT_FALSE(pool.try_acquire(1));
    EXPECT_EQ(pool.stats().cached, 0U);
    EXPECT_EQ(pool.stats().bytes_high_water, count * size);
  }
  checked.count_down();
  for (std::thread& each : idle) each.join();
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, RawBlocksAndOversizeBuffersMayBeReleasedOnAnyThreadToo) {
  support::failing_page_source pages;
  concurrent_pool pool(support::with_pages(pages));
  const raw_buffer raw = pool.get_buffer(100);
  const raw_buffer large = pool.get_buffer(std::size_t{2} << 20);
  buffer held = pool.acquire(std::size_t{3} << 20);
  on_another_thread([&] {
    pool.put_buffer(raw);
    pool.put_buffer(large.data, 0);
    held.release();
  });
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(pool.stats().oversize, 2U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, AThreadThatExitsReturnsItsCacheAndLeavesItsCounts) {
  concurrent_pool pool;
  pool_stats before;
  on_another_thread([&] {
    warm_up(pool);
    before = pool.stats();
  });
  EXPECT_GT(before.cached, 0U);
  const pool_stats after = pool.stats();
  EXPECT_EQ(after.cached, 0U);
  EXPECT_EQ(after.bytes, 0U);
  EXPECT_EQ(after.threads, 0U);
  EXPECT_EQ(after.acquired, before.acquired);
  EXPECT_EQ(after.released, before.released);
  EXPECT_EQ(after.hits, before.hits);
  EXPECT_EQ(after.misses, before.misses);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, AThreadMayOutliveAPoolItUsed) {
  std::optional<concurrent_pool> pool(std::in_place);
  std::latch used(1);
  std::latch destroyed(1);
  std::thread user([&] {
    warm_up(*pool);
    used.count_down();
    destroyed.wait();
    // Its cache died with the pool; another pool at the same address is another pool.
    concurrent_pool next;
    warm_up(next);
    EXPECT_EQ(next.stats().threads, 1U);
  });
  used.wait();
  pool.reset();
  pool.emplace();
  destroyed.count_down();
  user.join();
  EXPECT_EQ(pool->stats().threads, 0U);
  warm_up(*pool);
  EXPECT_TRUE(pool->check_invariants());
}

// Exit and destruction meet in whatever order they like.
TEST(concurrent_pool_test, AThreadMayExitWhileItsPoolIsDestroyed) {
  for (int round = 0; round < 200; ++round) {
    std::optional<concurrent_pool> pool(std::in_place);
    std::latch used(4);
    std::vector<std::thread> users;
    for (int count = 0; count < 4; ++count) {
      users.emplace_back([&] {
        warm_up(*pool);
        used.count_down();
      });
    }
    used.wait();
    pool.reset();
    for (std::thread& each : users) each.join();
  }
}

TEST(concurrent_pool_test, OneThreadMayUseTwoPoolsAlternately) {
  concurrent_pool first;
  concurrent_pool second;
  for (int round = 0; round < 1000; ++round) {
    buffer one = first.acquire(100);
    const buffer two = second.acquire(100);
    one.release();
  }
  for (concurrent_pool* const each : {&first, &second}) {
    const pool_stats now = each->stats();
    EXPECT_EQ(now.acquired, 1000U);
    EXPECT_EQ(now.misses, 1U) << "the cache is found again whatever pool was used meanwhile";
    EXPECT_EQ(now.threads, 1U);
    EXPECT_EQ(now.uncached, 0U);
    EXPECT_TRUE(each->check_invariants());
  }
}

TEST(concurrent_pool_test, APoolSurvivesTheOtherOfTwoThatAThreadUses) {
  concurrent_pool lasting;
  for (int round = 0; round < 50; ++round) {
    concurrent_pool passing;
    warm_up(lasting);
    warm_up(passing);
  }
  EXPECT_EQ(lasting.stats().threads, 1U);
  EXPECT_TRUE(lasting.check_invariants());
}

// Two thread-local owners, one constructed before the thread's first use of the pool and one after:
// they are destroyed after its cache is gone and before.
TEST(concurrent_pool_test, BuffersMayBeReleasedByThreadLocalDestructors) {
  concurrent_pool pool;
  on_another_thread([&] {
    thread_local std::vector<buffer> early;
    early.reserve(10);
    for (int count = 0; count < 10; ++count) early.push_back(pool.acquire(1000));
    thread_local std::vector<buffer> late;
    for (int count = 0; count < 10; ++count) late.push_back(pool.acquire(3000000));
    late.push_back(pool.acquire(1000));
  });
  const pool_stats now = pool.stats();
  EXPECT_EQ(now.in_use, 0U);
  EXPECT_EQ(now.cached, 0U);
  EXPECT_EQ(now.threads, 0U);
  EXPECT_EQ(now.uncached, 10U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, AThreadLocalDestructorMayBeTheFirstToUseAPool) {
  concurrent_pool pool;
  struct user {
    concurrent_pool* of = nullptr;
    ~user() {
      if (of != nullptr) warm_up(*of);
    }
  };
  on_another_thread([&] {
    thread_local user last;
    last.of = &pool;
  });
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(pool.stats().cached, 0U);
  EXPECT_EQ(pool.stats().threads, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

// A queue with room for a few buffers: what a server does between an acceptor and its workers.
class bounded_queue {
 public:
  void push(buffer item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return items_.size() < room; });
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  buffer pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !items_.empty(); });
    buffer item = std::move(items_.front());
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

 private:
  static constexpr std::size_t room = 16;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<buffer> items_;
};

TEST(concurrent_pool_test, ProducersAndConsumersShareItsBuffers) {
  constexpr int pair_count = 2;
  constexpr std::size_t buffer_count = 5000;  // of each producer
  concurrent_pool pool;
  bounded_queue queue;
  std::atomic<std::size_t> bytes_sent{0};
  std::atomic<std::size_t> bytes_received{0};
  std::vector<std::thread> threads;
  for (int pair = 0; pair < pair_count; ++pair) {
    threads.emplace_back([&, pair] {
      support::seeded_random random(310 + static_cast<std::uint64_t>(pair));
      for (std::size_t count = 0; count < buffer_count; ++count) {
        buffer item = pool.acquire(1 + random.magnitude(13));
        std::memset(item.data(), static_cast<int>(item.size() % 251) + 1, item.size());
        bytes_sent += item.size();
        queue.push(std::move(item));
      }
    });
    threads.emplace_back([&] {
      for (std::size_t count = 0; count < buffer_count; ++count) {
        const buffer item = queue.pop();
        const std::byte expected{static_cast<unsigned char>(item.size() % 251 + 1)};
        const std::span<const std::byte> bytes(item.data(), item.size());
        if (std::all_of(bytes.begin(), bytes.end(), [&](std::byte each) { return each == expected; })) {
          bytes_received += item.size();
        }
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(bytes_received, bytes_sent);
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(pool.stats().acquired, pair_count * buffer_count);
  EXPECT_EQ(pool.stats().cached, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

// Four threads take what they can get; a fifth looks all the time.
TEST(concurrent_pool_test, TheBudgetIsNeverExceeded) {
  constexpr std::size_t budget = 64 << 10;
  constexpr int thread_count = 4;
  concurrent_pool pool(support::with_budget(budget));
  std::atomic<int> running{thread_count};
  std::atomic<std::size_t> held_bytes{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&, thread] {
      support::seeded_random random(320 + static_cast<std::uint64_t>(thread));
      std::vector<buffer> held;
      for (int step = 0; step < 10000; ++step) {
        if (buffer got = pool.try_acquire(random.magnitude(15))) {
          const std::size_t now = held_bytes += got.capacity();
          EXPECT_LE(now, budget);
          held.push_back(std::move(got));
        }
        if (!held.empty() && (held.size() > 20 || random.one_in(2))) {
          held_bytes -= held.back().capacity();
          held.pop_back();
        }
      }
      for (const buffer& each : held) held_bytes -= each.capacity();
      held.clear();
      --running;
    });
  }
  while (running != 0) {
    const pool_stats now = pool.stats();
    EXPECT_LE(now.bytes, budget);
    EXPECT_LE(now.bytes_high_water, budget);
    std::this_thread::yield();
  }
  for (std::thread& each : threads) each.join();
  EXPECT_GT(pool.stats().refused, 0U) << "the budget was never reached";
  EXPECT_EQ(pool.stats().bytes, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

// What idle threads cache is a part of the budget each: together they must leave room all the same.
TEST(concurrent_pool_test, CachesOfManyIdleThreadsLeaveRoomInTheBudget) {
  constexpr int thread_count = 32;
  constexpr std::size_t budget = std::size_t{1} << 20;
  concurrent_pool pool(support::with_budget(budget));
  std::latch idle(thread_count);
  std::latch done(1);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&] {
      {
        std::vector<buffer> held;
        for (int count = 0; count < 200; ++count) {
          if (buffer got = pool.try_acquire(1024)) held.push_back(std::move(got));
        }
      }
      idle.count_down();
      done.wait();
    });
  }
  idle.wait();
  EXPECT_TRUE(pool.try_acquire(4096));
  done.count_down();
  for (std::thread& each : threads) each.join();
}

TEST(concurrent_pool_test, StatsMayBeTakenWhileThreadsWork) {
  concurrent_pool pool;
  std::atomic<bool> working{true};
  std::thread worker([&] {
    for (int round = 0; round < 300; ++round) {
      on_another_thread([&] { warm_up(pool); });
      warm_up(pool);
    }
    working = false;
  });
  std::uint64_t acquired = 0;
  while (working) {
    const pool_stats now = pool.stats();
    EXPECT_GE(now.acquired, acquired) << "a count of what was done ever does not shrink";
    EXPECT_LE(now.in_use, 64U);
    acquired = now.acquired;
    std::this_thread::yield();
  }
  worker.join();
  EXPECT_EQ(pool.stats().acquired, 300U * 2 * 8);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(concurrent_pool_test, SlabsMayGrowAndRetireOnEveryThreadAtOnce) {
  support::failing_page_source pages;
  {
    pool_options options = support::with_pages(pages);
    options.cache_bytes_max = 0;  // everything goes to the depot, and slabs come and go
    concurrent_pool pool(options);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&] {
        for (int round = 0; round < 100; ++round) {
          std::vector<buffer> held;
          for (int count = 0; count < 12; ++count) held.push_back(pool.acquire(std::size_t{512} << 10));
          held.clear();
          if (round % 10 == 0) pool.trim();
        }
      });
    }
    for (std::thread& each : threads) each.join();
    EXPECT_EQ(pool.stats().in_use, 0U);
    EXPECT_TRUE(pool.check_invariants());
    pool.trim();
    pages.expect_all_unmapped();
  }
}

}  // namespace
}  // namespace slabbuf
