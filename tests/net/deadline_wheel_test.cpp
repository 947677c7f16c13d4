// SPDX-License-Identifier: MIT
#include <slabbuf/net/deadline_wheel.hpp>

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include "support/counting_allocator.hpp"
#include "support/loopback_pair.hpp"

#include <gtest/gtest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

namespace slabbuf {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

TEST(deadline_wheel_test, ExpiresAfterItsTimeAndNeverBefore) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  std::vector<steady_clock::duration> late;
  const auto start = steady_clock::now();
  net::deadline soon(wheel, [&] { late.push_back(steady_clock::now() - start - 3ms); });
  net::deadline now(wheel, [&] { late.push_back(steady_clock::now() - start); });
  net::deadline never(wheel, [] { FAIL(); });
  soon.expires_after(3ms);
  now.expires_after(-1s);
  never.expires_after(1ms);
  never.cancel();
  EXPECT_FALSE(soon.expired());
  context.run();
  ASSERT_EQ(late.size(), 2U);
  EXPECT_GE(late[0], 0ms);
  EXPECT_GE(late[1], 0ms);
  EXPECT_TRUE(soon.expired());
  EXPECT_FALSE(soon.armed());
  EXPECT_FALSE(never.expired());
}

// Whoever arms one after a long handler has its whole time before it, whatever the timer has to catch up with.
TEST(deadline_wheel_test, ABusyThreadMakesNothingExpireEarly) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 2ms);
  std::optional<steady_clock::time_point> armed_at;
  std::optional<steady_clock::time_point> expired_at;
  net::deadline late(wheel, [&] { expired_at = steady_clock::now(); });
  net::deadline ticks(wheel, [] {});
  ticks.expires_after(1h);
  asio::post(context, [&] {
    const auto busy_until = steady_clock::now() + 7ms;
    while (steady_clock::now() < busy_until) {
    }
    armed_at = steady_clock::now();
    late.expires_after(4ms);
  });
  while (!expired_at) context.run_one();
  EXPECT_GE(*expired_at - *armed_at, 4ms);
}

TEST(deadline_wheel_test, IsNoWorkWhenNothingIsArmed) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  net::deadline idle(wheel, [] {});
  EXPECT_EQ(context.run(), 0U);
  for (int round = 0; round < 3; ++round) {
    idle.expires_after(1ms);
    EXPECT_TRUE(idle.armed());
    context.restart();
    EXPECT_GT(context.run(), 0U);
    EXPECT_TRUE(idle.expired());
  }
}

TEST(deadline_wheel_test, ADeadlineThatDiesDoesNotExpire) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  {
    net::deadline gone(wheel, [] { FAIL(); });
    gone.expires_after(1ms);
  }
  context.run();
}

TEST(deadline_wheel_test, MayDieWithDeadlinesArmedAndItsHandlerQueued) {
  asio::io_context context;
  std::optional<net::deadline_wheel<asio::io_context::executor_type>> wheel;
  wheel.emplace(context.get_executor(), 1ms);
  net::deadline outlives(*wheel, [] { FAIL(); });
  outlives.expires_after(1ms);
  // The timer's handler is queued behind this one when both are ready.
  asio::post(context, [&] {
    const auto ready = steady_clock::now() + 3ms;
    while (steady_clock::now() < ready) {
    }
    wheel.reset();
  });
  context.run();
  EXPECT_FALSE(outlives.expired());
}

TEST(deadline_wheel_test, AnActionMayDestroyItsDeadlineAndTheWheel) {
  asio::io_context context;
  auto wheel = std::make_unique<net::deadline_wheel<>>(context.get_executor(), 1ms);
  struct destroy {
    std::unique_ptr<net::deadline_wheel<>>* wheel;
    std::unique_ptr<net::deadline<destroy>>* self;
    void operator()() const {
      wheel->reset();
      self->reset();
    }
  };
  std::unique_ptr<net::deadline<destroy>> self;
  self = std::make_unique<net::deadline<destroy>>(*wheel, destroy{&wheel, &self});
  self->expires_after(1ms);
  context.run();
  EXPECT_EQ(self, nullptr);
}

TEST(deadline_wheel_test, AnActionThatThrowsCostsNoOtherDeadlineAnything) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  int expired = 0;
  net::deadline throws(wheel, [] { throw std::runtime_error("thrown"); });
  net::deadline other(wheel, [&] { ++expired; });
  net::deadline later(wheel, [&] { ++expired; });
  throws.expires_after(1ms);
  other.expires_after(1ms);
  later.expires_after(5ms);
  EXPECT_THROW(context.run(), std::runtime_error);
  context.run();
  EXPECT_EQ(expired, 2);
}

TEST(deadline_wheel_test, RestartsWithTheTimeItHadLast) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  int expired = 0;
  net::basic_deadline* self = nullptr;
  net::deadline each(wheel, [&] {
    if (++expired < 3) self->restart();
  });
  self = &each;
  const auto start = steady_clock::now();
  each.expires_after(2ms);
  context.run();
  EXPECT_EQ(expired, 3);
  EXPECT_GE(steady_clock::now() - start, 6ms);
}

TEST(deadline_wheel_test, LetsAllExpireOrGivesThemLessTime) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  int expired = 0;
  const auto count = [&] { ++expired; };
  net::deadline one(wheel, count);
  net::deadline two(wheel, count);
  net::deadline idle(wheel, count);
  one.expires_after(1h);
  two.expires_after(std::chrono::hours(24 * 365 * 100));
  wheel.for_each([](net::basic_deadline& each) { each.expires_after(1ms); });
  context.run();
  EXPECT_EQ(expired, 2);
  one.expires_after(steady_clock::duration::max());
  wheel.for_each([](net::basic_deadline& each) { each.expire(); });
  EXPECT_EQ(expired, 3);
  EXPECT_FALSE(idle.expired());
}

TEST(deadline_wheel_test, StandsStillFromStopToTheNextStart) {
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  int expired = 0;
  net::deadline one(wheel, [&] { ++expired; });
  net::deadline two(wheel, [&] { ++expired; });
  one.expires_after(2ms);
  context.run_one();
  wheel.stop();
  context.restart();
  context.run();
  EXPECT_EQ(expired, 0);
  EXPECT_TRUE(one.armed());
  two.expires_after(1ms);
  context.restart();
  context.run();
  EXPECT_EQ(expired, 2);
}

TEST(deadline_wheel_test, ATickOfNoTimeIsRefused) {
  asio::io_context context;
  EXPECT_THROW(net::deadline_wheel(context, 0ms), std::invalid_argument);
  EXPECT_THROW(net::deadline_wheel(context, -1ms), std::invalid_argument);
}

#if defined(ASIO_HAS_CO_AWAIT)
// What it is for: a session in a coroutine, whose peer says something and then nothing.
asio::awaitable<void> session(support::loopback_pair::socket& socket, local_pool& pool,
                              net::deadline_wheel<asio::io_context::executor_type>& wheel, std::size_t& messages,
                              asio::error_code& ended) {
  net::deadline idle(wheel, [&] { socket.close(); });
  for (;;) {
    idle.expires_after(20ms);
    const buffer received =
        co_await net::async_read_some(socket, pool, asio::redirect_error(asio::use_awaitable, ended));
    if (ended) break;
    ++messages;
  }
  EXPECT_TRUE(idle.expired());
}

TEST(deadline_wheel_test, EndsTheSessionOfASilentPeer) {
  local_pool pool;
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  support::loopback_pair sockets(context);
  std::size_t messages = 0;
  asio::error_code ended;
  asio::co_spawn(context, session(sockets.near, pool, wheel, messages, ended), asio::detached);
  sockets.far.write_some(asio::buffer("ping", 4));
  context.run();
  EXPECT_EQ(messages, 1U);
  EXPECT_EQ(ended, asio::error::operation_aborted);
  EXPECT_EQ(pool.stats().in_use, 0U);
}
#endif

TEST(deadline_wheel_test, ArmingAllocatesNothing) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "somebody else's malloc";
  asio::io_context context;
  net::deadline_wheel wheel(context, 1ms);
  net::deadline ticks(wheel, [] {});
  net::deadline idle(wheel, [] {});
  ticks.expires_after(1h);
  for (int tick = 0; tick < 10; ++tick) context.run_one();  // Asio has its memory
  const auto before = support::heap_allocations_of_this_thread();
  for (int tick = 0; tick < 10; ++tick) {
    idle.expires_after(1h);
    idle.restart();
    idle.cancel();
    idle.expires_after(1ms);
    context.run_one();
  }
  EXPECT_EQ(support::heap_allocations_of_this_thread(), before);
}

}  // namespace
}  // namespace slabbuf
