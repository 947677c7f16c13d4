// SPDX-License-Identifier: MIT
#include <slabbuf/net/decay_timer.hpp>

#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

pool_options decaying(milliseconds period) {
  pool_options options;
  options.decay = period;
  return options;
}

template <class Pool>
void burst(Pool& pool) {
  std::vector<buffer> held;
  for (int count = 0; count < 1000; ++count) held.push_back(pool.acquire(4096));
}

// Runs until the pool has given everything back; a timer that does nothing ends by the test's limit.
template <class Pool>
void run_until_nothing_is_resident(asio::io_context& context, Pool& pool) {
  while (pool.stats().resident_bytes != 0) context.run_one();
  EXPECT_EQ(pool.stats().resident_bytes, 0U);
  EXPECT_EQ(pool.stats().bytes, 0U);
}

TEST(decay_timer_test, LetsAPoolShrinkWithoutTraffic) {
  local_pool pool(decaying(milliseconds(1)));
  asio::io_context context;
  const net::decay_timer timer(context, pool);
  burst(pool);
  EXPECT_GT(pool.stats().resident_bytes, 0U);
  run_until_nothing_is_resident(context, pool);
  burst(pool);
  run_until_nothing_is_resident(context, pool);
}

TEST(decay_timer_test, TakesAnyExecutorAndMayRunOnAnotherThread) {
  concurrent_pool pool(decaying(milliseconds(1)));
  burst(pool);
  std::optional<asio::thread_pool> threads(std::in_place, 1);
  const net::decay_timer timer(threads->get_executor(), pool);
  const net::decay_timer<> erased(threads->get_executor(), pool);
  const auto limit = steady_clock::now() + seconds(60);
  while (pool.stats().resident_bytes != 0 && steady_clock::now() < limit) std::this_thread::yield();
  EXPECT_EQ(pool.stats().resident_bytes, 0U);
  threads->stop();
}

// It waits for a decay() that is under way.
TEST(decay_timer_test, TimerAndPoolMayDieWhileTheHandlerRunsOnAnotherThread) {
  asio::thread_pool threads(1);
  for (int round = 0; round < 200; ++round) {
    auto pool = std::make_unique<concurrent_pool>(decaying(milliseconds(1)));
    burst(*pool);
    const auto limit = steady_clock::now() + seconds(60);
    {
      const net::decay_timer timer(threads.get_executor(), *pool);
      // Until it has begun, so that some of the rounds end in the middle of it.
      const std::uint64_t before = pool->stats().resident_bytes;
      while (pool->stats().resident_bytes == before && steady_clock::now() < limit) std::this_thread::yield();
    }
    pool.reset();
  }
  threads.stop();
}

TEST(decay_timer_test, IsNoWorkOnceItIsStoppedOrGone) {
  local_pool pool(decaying(seconds(3600)));
  asio::io_context context;
  {
    net::decay_timer stopped(context, pool);
    stopped.stop();
    stopped.stop();
    context.run();  // returns, or the test ends by its limit
    context.restart();
  }
  { const net::decay_timer gone(context, pool); }
  context.run();
}

// Both timers expire before the context looks: the handler of the first destroys what the second is about.
TEST(decay_timer_test, AHandlerOnItsWayOutlivesTimerAndPool) {
  auto pool = std::make_unique<local_pool>(decaying(milliseconds(2)));
  asio::io_context context;
  asio::steady_timer first(context, milliseconds(1));
  auto timer = std::make_unique<net::decay_timer<asio::io_context::executor_type>>(context, *pool);
  first.async_wait([&](asio::error_code) {
    timer.reset();
    pool.reset();
  });
  const auto expired = steady_clock::now() + milliseconds(3);
  while (steady_clock::now() < expired) std::this_thread::yield();
  // Asio's io_uring backend counts steps of its own.
  EXPECT_GE(context.run(), 2U) << "the second was on its way already";
}

TEST(decay_timer_test, RunsNothingWhereDecayIsSwitchedOff) {
  local_pool pool(decaying(milliseconds(0)));
  asio::io_context context;
  const net::decay_timer timer(context, pool);
  EXPECT_EQ(context.run(), 0U);
}

}  // namespace
}  // namespace slabbuf
