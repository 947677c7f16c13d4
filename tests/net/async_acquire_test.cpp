// SPDX-License-Identifier: MIT
// Waiting for the budget: in line, cancelled, on other threads, and two thousand at a time. Nobody is
// forgotten, nothing is lost.
#include <slabbuf/net/async_acquire.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

namespace slabbuf {
namespace {

using net::async_acquire;

constexpr std::size_t block_bytes = 4096;

pool_options room_for(std::size_t blocks) {
  pool_options options;
  options.size_classes = {64, 1024, block_bytes};
  options.budget_bytes_max = blocks * block_bytes;
  return options;
}

template <class Pool>
class async_acquire_test : public ::testing::Test {
 protected:
  ~async_acquire_test() override {
    EXPECT_FALSE(pool_.has_waiters());
    EXPECT_EQ(pool_.stats().in_use, 0U);
    EXPECT_TRUE(pool_.check_invariants());
  }

  // A handler that notes what it was called with.
  auto into(std::optional<asio::error_code>& ec, buffer& got) {
    return asio::bind_executor(context_, [&](asio::error_code result, buffer bytes) {
      ec = result;
      got = std::move(bytes);
    });
  }

  Pool pool_{room_for(2)};
  asio::io_context context_;
};
using both_pools = ::testing::Types<local_pool, concurrent_pool>;
TYPED_TEST_SUITE(async_acquire_test, both_pools);

TYPED_TEST(async_acquire_test, CompletesWithoutWaitingWhereThereIsRoomButNotWithinTheCall) {
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(this->pool_, 3000, this->into(ec, got));
  EXPECT_FALSE(ec);
  EXPECT_EQ(this->context_.run(), 1U);
  EXPECT_EQ(ec, asio::error_code());
  EXPECT_EQ(got.size(), 3000U);
  EXPECT_FALSE(this->pool_.has_waiters());
}

// As every other operation does; the handler is copied.
TYPED_TEST(async_acquire_test, TakesAHandlerThatHasAName) {
  std::optional<asio::error_code> ec;
  buffer got;
  auto handler = this->into(ec, got);
  buffer all = this->pool_.acquire(block_bytes);
  buffer rest = this->pool_.acquire(block_bytes);
  async_acquire(this->pool_, block_bytes, handler);
  all.release();
  this->context_.run();
  EXPECT_EQ(ec, asio::error_code());
  EXPECT_EQ(got.size(), block_bytes);
}

TYPED_TEST(async_acquire_test, WaitsUntilThereIsRoom) {
  buffer first = this->pool_.acquire(block_bytes);
  buffer second = this->pool_.acquire(block_bytes);
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(this->pool_, block_bytes, this->into(ec, got));
  this->context_.poll();
  EXPECT_FALSE(ec);
  EXPECT_TRUE(this->pool_.has_waiters());

  second.release();
  EXPECT_FALSE(this->pool_.has_waiters());
  EXPECT_FALSE(ec) << "not within the release";
  this->context_.run();
  EXPECT_EQ(ec, asio::error_code());
  EXPECT_EQ(got.size(), block_bytes);
  EXPECT_FALSE(this->pool_.try_acquire(1)) << "it is in use";
}

// Blocks that lie in caches are nobody's: they need not be waited for, whichever class they are of.
TYPED_TEST(async_acquire_test, WhatIsCachedIsRoom) {
  TypeParam pool(room_for(64));
  {
    std::vector<buffer> small;
    for (int count = 0; count < 100; ++count) small.push_back(pool.acquire(1000));
  }
  std::vector<buffer> held;
  while (buffer next = pool.try_acquire(block_bytes)) held.push_back(std::move(next));
  held.resize(held.size() - 1);
  buffer last = pool.acquire(64);
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(pool, block_bytes, this->into(ec, got));
  this->context_.poll();
  last.release();
  this->context_.run();
  EXPECT_EQ(ec, asio::error_code());
}

TYPED_TEST(async_acquire_test, FirstComeFirstServed) {
  std::vector<buffer> held;
  held.push_back(this->pool_.acquire(block_bytes));
  held.push_back(this->pool_.acquire(block_bytes));
  std::vector<int> order;
  std::vector<buffer> got;
  for (int index = 0; index < 4; ++index) {
    // The third wants little, and waits for its turn all the same.
    async_acquire(this->pool_, index == 2 ? 64 : block_bytes,
                  asio::bind_executor(this->context_, [&, index](asio::error_code ec, buffer bytes) {
                    EXPECT_FALSE(ec);
                    order.push_back(index);
                    got.push_back(std::move(bytes));
                  }));
  }
  this->context_.poll();
  EXPECT_TRUE(order.empty());
  held.pop_back();
  this->context_.poll();
  EXPECT_EQ(order, std::vector<int>({0}));
  held.pop_back();
  this->context_.poll();
  EXPECT_EQ(order, std::vector<int>({0, 1}));
  got.erase(got.begin());
  this->context_.poll();
  EXPECT_EQ(order, std::vector<int>({0, 1, 2})) << "64 bytes are left of the block, too few for the fourth";
  got.clear();
  this->context_.run();
  EXPECT_EQ(order, std::vector<int>({0, 1, 2, 3}));
}

TYPED_TEST(async_acquire_test, ANewcomerStandsBehindThoseWhoWait) {
  buffer held = this->pool_.acquire(block_bytes);
  buffer other = this->pool_.acquire(64);
  std::vector<char> order;
  std::vector<buffer> got;
  const auto note = [&](char name) {
    return asio::bind_executor(this->context_, [&, name](asio::error_code, buffer bytes) {
      order.push_back(name);
      got.push_back(std::move(bytes));
    });
  };
  async_acquire(this->pool_, block_bytes, note('a'));
  async_acquire(this->pool_, 64, note('b'));  // there is room for it
  this->context_.poll();
  EXPECT_TRUE(order.empty());
  other.release();
  this->context_.poll();
  EXPECT_EQ(order, std::vector<char>({'a'}));
  held.release();
  this->context_.run();
  EXPECT_EQ(order, std::vector<char>({'a', 'b'}));
}

TYPED_TEST(async_acquire_test, ACancelledOneLeavesTheLineAndTheNextMovesUp) {
  buffer held = this->pool_.acquire(block_bytes);
  for (const auto type :
       {asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total}) {
    asio::cancellation_signal signal;
    std::optional<asio::error_code> ec;
    buffer got;
    buffer small = this->pool_.acquire(1024);
    async_acquire(this->pool_, block_bytes, asio::bind_cancellation_slot(signal.slot(), this->into(ec, got)));
    std::optional<asio::error_code> next_ec;
    buffer next;
    async_acquire(this->pool_, 64, this->into(next_ec, next));
    this->context_.poll();
    EXPECT_FALSE(ec);
    signal.emit(type);
    this->context_.run();
    this->context_.restart();
    EXPECT_EQ(ec, asio::error::operation_aborted);
    EXPECT_FALSE(got);
    EXPECT_EQ(next_ec, asio::error_code()) << "it wants less than the one that was before it";
    EXPECT_FALSE(this->pool_.has_waiters());
  }
}

// Served and then cancelled before the handler ran: the buffer is delivered.
TYPED_TEST(async_acquire_test, ACancellationThatComesTooLateLosesNothing) {
  std::vector<buffer> held;
  held.push_back(this->pool_.acquire(block_bytes));
  held.push_back(this->pool_.acquire(block_bytes));
  asio::cancellation_signal signal;
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(this->pool_, block_bytes, asio::bind_cancellation_slot(signal.slot(), this->into(ec, got)));
  held.clear();
  signal.emit(asio::cancellation_type::terminal);
  this->context_.run();
  EXPECT_EQ(ec, asio::error_code());
  EXPECT_TRUE(got);
}

TYPED_TEST(async_acquire_test, AContextThatDiesTakesThoseWhoWaitOutOfLine) {
  buffer held = this->pool_.acquire(block_bytes);
  buffer other = this->pool_.acquire(block_bytes);
  {
    asio::io_context dying;
    for (int count = 0; count < 3; ++count) {
      async_acquire(this->pool_, block_bytes, asio::bind_executor(dying, [](asio::error_code, buffer) {
                      ADD_FAILURE() << "the context was destroyed";
                    }));
    }
    other.release();  // the first is served, and never learns of it
    EXPECT_TRUE(this->pool_.has_waiters());
  }
  EXPECT_FALSE(this->pool_.has_waiters());
  EXPECT_TRUE(this->pool_.try_acquire(block_bytes)) << "what the first one got is back";
}

TYPED_TEST(async_acquire_test, WhatTheBudgetCanNeverHoldIsRefused) {
  for (const std::size_t size : {2 * block_bytes + 1, buffer_bytes_max + 1, SIZE_MAX}) {
    std::optional<asio::error_code> ec;
    buffer got;
    async_acquire(this->pool_, size, this->into(ec, got));
    EXPECT_FALSE(ec);
    this->context_.run();
    this->context_.restart();
    EXPECT_EQ(ec, asio::error::no_buffer_space) << size;
  }
}

TYPED_TEST(async_acquire_test, OversizeBuffersAreWaitedForToo) {
  TypeParam pool(room_for(8));
  buffer held = pool.acquire(4 * block_bytes);
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(pool, 7 * block_bytes, this->into(ec, got));
  this->context_.poll();
  EXPECT_FALSE(ec);
  held.release();
  this->context_.run();
  EXPECT_EQ(ec, asio::error_code());
  EXPECT_EQ(got.size(), 7 * block_bytes);
}

TYPED_TEST(async_acquire_test, SaysWhenItIsItsTurnAndTheSystemHasNoMemory) {
  support::failing_page_source pages;
  pool_options options = room_for(8);
  options.pages = &pages;
  options.cache_bytes_max = 0;
  TypeParam pool(options);
  buffer held = pool.acquire(6 * block_bytes);
  std::optional<asio::error_code> ec;
  buffer got;
  async_acquire(pool, 5 * block_bytes, this->into(ec, got));
  this->context_.poll();
  EXPECT_FALSE(ec);
  pages.fail_maps_from(1);
  held.release();
  this->context_.run();
  EXPECT_EQ(ec, asio::error::no_memory);
  EXPECT_FALSE(got);
}

TYPED_TEST(async_acquire_test, AFuture) {
  std::future<buffer> got = async_acquire(this->pool_, 100, asio::use_future);
  EXPECT_EQ(got.get().size(), 100U);
}

#if defined(ASIO_HAS_CO_AWAIT)
TYPED_TEST(async_acquire_test, ACoroutineWithADeadline) {
  buffer held = this->pool_.acquire(block_bytes);
  buffer other = this->pool_.acquire(block_bytes);
  std::optional<asio::error_code> ec;
  asio::cancellation_signal signal;
  asio::steady_timer deadline(this->context_, std::chrono::milliseconds(1));
  deadline.async_wait([&](asio::error_code) { signal.emit(asio::cancellation_type::terminal); });
  asio::co_spawn(
      this->context_,
      [&]() -> asio::awaitable<void> {
        try {
          co_await async_acquire(this->pool_, block_bytes, asio::use_awaitable);
        } catch (const std::system_error& fault) {
          ec = fault.code();
        }
      },
      asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
  this->context_.run();
  EXPECT_EQ(ec, asio::error::operation_aborted);
  this->context_.restart();
  asio::co_spawn(
      this->context_,
      [&]() -> asio::awaitable<void> {
        const buffer got = co_await async_acquire(this->pool_, block_bytes, asio::use_awaitable);
        EXPECT_EQ(got.size(), block_bytes);
      },
      [](std::exception_ptr fault) { EXPECT_EQ(fault, nullptr); });
  this->context_.poll();
  held.release();
  this->context_.run();
}
#endif

TYPED_TEST(async_acquire_test, WaitingAllocatesNothingInSteadyState) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "a tool has its own malloc";
  pool_options handlers;
  local_pool memory(handlers);
  std::uint64_t before = 0;
  int rounds = 0;
  std::function<void()> next;
  buffer held = this->pool_.acquire(block_bytes);
  buffer got;
  const auto handler = [&](asio::error_code ec, buffer bytes) {
    EXPECT_FALSE(ec);
    got = std::move(bytes);
    ++rounds;
  };
  buffer other = this->pool_.acquire(block_bytes);
  for (int round = 0; round < 200; ++round) {
    if (round == 100) before = support::heap_allocations_of_this_thread();
    async_acquire(this->pool_, block_bytes, net::bind_pool(memory, asio::bind_executor(this->context_, handler)));
    this->context_.poll();
    other.release();
    this->context_.restart();
    this->context_.run();
    other = std::move(got);
  }
  EXPECT_EQ(support::heap_allocations_of_this_thread(), before);
  EXPECT_EQ(rounds, 200);
}

// The block that is waited for comes back on another thread, or lies in the cache of one that is asleep.
TEST(async_acquire_threads_test, AReleaseOnAnotherThreadWakes) {
  concurrent_pool pool(room_for(2));
  asio::io_context context;
  for (int round = 0; round < 200; ++round) {
    buffer first = pool.acquire(block_bytes);
    buffer second = pool.acquire(block_bytes);
    std::thread other([&] { second.release(); });
    std::optional<asio::error_code> ec;
    async_acquire(pool, block_bytes,
                  asio::bind_executor(context, [&](asio::error_code result, buffer) { ec = result; }));
    context.run();
    context.restart();
    EXPECT_EQ(ec, asio::error_code());
    other.join();
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// A budget for 100 blocks and 2,000 sessions that want one to three, one after the other, on four threads;
// some lose patience. Each must come to an end.
TEST(async_acquire_stress, EverySessionEndsAndTheBudgetHolds) {
  constexpr std::size_t session_count = 2000;
  constexpr int turns = 10;
  constexpr std::size_t thread_count = 4;
  concurrent_pool pool(room_for(100));
  asio::io_context context;
  std::atomic<std::size_t> served{0};
  std::atomic<std::size_t> cancelled{0};
  std::atomic<std::size_t> ended{0};

  struct session : std::enable_shared_from_this<session> {
    session(asio::io_context& on, concurrent_pool& from, std::uint64_t number)
        : strand(asio::make_strand(on)), pool(from), patience(strand), state(number * 2 + 1) {}

    std::uint64_t random() {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      return state;
    }
    void turn() {
      if (left-- == 0) {
        ++*ended;
        return;
      }
      const std::size_t size = std::array<std::size_t, 3>{64, 1024, block_bytes}[random() % 3];
      const bool impatient = random() % 4 == 0;
      async_acquire(pool, size,
                    asio::bind_cancellation_slot(
                        signal.slot(),
                        asio::bind_executor(strand, [self = shared_from_this(), size](asio::error_code ec, buffer got) {
                          self->patience.cancel();
                          self->told(ec, std::move(got), size);
                        })));
      if (!impatient) return;
      patience.expires_after(std::chrono::microseconds(random() % 500));
      patience.async_wait(asio::bind_executor(strand, [self = shared_from_this()](asio::error_code ec) {
        if (!ec) self->signal.emit(asio::cancellation_type::terminal);
      }));
    }
    void told(asio::error_code ec, buffer got, std::size_t size) {
      if (ec) {
        EXPECT_EQ(ec, asio::error::operation_aborted);
        EXPECT_FALSE(got);
        ++*cancelled;
      } else {
        EXPECT_EQ(got.size(), size);
        EXPECT_LE(pool.stats().bytes, pool.stats().budget_bytes_max);
        ++*served;
      }
      // It holds the buffer until its strand comes round again.
      asio::post(strand, [self = shared_from_this(), got = std::move(got)]() mutable {
        got.release();
        self->turn();
      });
    }

    asio::strand<asio::io_context::executor_type> strand;
    concurrent_pool& pool;
    asio::cancellation_signal signal;
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                               asio::strand<asio::io_context::executor_type>>
        patience;
    std::uint64_t state;
    int left = turns;
    std::atomic<std::size_t>* served = nullptr;
    std::atomic<std::size_t>* cancelled = nullptr;
    std::atomic<std::size_t>* ended = nullptr;
  };

  for (std::size_t number = 0; number < session_count; ++number) {
    const auto made = std::make_shared<session>(context, pool, number);
    made->served = &served;
    made->cancelled = &cancelled;
    made->ended = &ended;
    asio::post(made->strand, [made] { made->turn(); });
  }
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < thread_count; ++thread) threads.emplace_back([&] { context.run(); });
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(ended, session_count);
  EXPECT_EQ(served + cancelled, session_count * turns);
  EXPECT_GT(served, session_count);
  EXPECT_FALSE(pool.has_waiters());
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_LE(pool.stats().bytes_high_water, pool.stats().budget_bytes_max);
  EXPECT_TRUE(pool.check_invariants());
}

}  // namespace
}  // namespace slabbuf
