// SPDX-License-Identifier: MIT
#include <slabbuf/net/async_read_some.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <future>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using support::loopback_pair;

std::string text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct outcome {
  outcome(asio::error_code error, buffer received) : ec(error), bytes(std::move(received)) {}
  asio::error_code ec;
  buffer bytes;
};

class AsyncReadSome : public ::testing::Test {
 protected:
  auto store() {
    return [this](asio::error_code ec, buffer bytes) { result.emplace(ec, std::move(bytes)); };
  }
  void send(std::string_view text) { asio::write(pair.far, asio::buffer(text)); }
  std::uint64_t in_use() const { return pool.stats().in_use; }

  concurrent_pool pool;
  asio::io_context context;
  loopback_pair pair{context};
  std::optional<outcome> result;
};

TEST_F(AsyncReadSome, HoldsNoBlockWhileThePeerIsSilent) {
  net::async_read_some(pair.near, pool, store());
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(in_use(), 0U);
  EXPECT_EQ(pool.stats().acquired, 0U);

  send("hello");
  context.run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(text_of(result->bytes), "hello");
  EXPECT_EQ(in_use(), 1U);
  result.reset();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncReadSome, CountsOnlyTheBytesThatArrivedAsWritten) {
  send("abc");
  net::async_read_some(pair.near, pool, store(), net::read_bytes_default);
  context.run();
  const std::byte* const block = std::as_const(result->bytes).data();
  ASSERT_GE(result->bytes.capacity(), net::read_bytes_default);
  // A byte changed behind the buffer's back, far beyond what arrived, is not cleared: nobody knows of
  // it. What arrived is.
  const_cast<std::byte*>(block)[1000] = std::byte{0x5a};
  result.reset();
  const buffer again = pool.acquire(net::read_bytes_default);
  ASSERT_EQ(again.data(), block);
  EXPECT_EQ(again.data()[0], std::byte{0});
  EXPECT_EQ(again.data()[2], std::byte{0});
  EXPECT_EQ(again.data()[1000], std::byte{0x5a});
}

// An epoll_socket learns instead (epoll_socket_test).
#if !defined(SLABBUF_TEST_EPOLL_SOCKET)
TEST_F(AsyncReadSome, FewBytesComeInABlockOfTheirSize) {
  send("hello");
  net::async_read_some(pair.near, pool, store());
  context.run();
  EXPECT_EQ(text_of(result->bytes), "hello");
  EXPECT_EQ(result->bytes.capacity(), 8U);
  EXPECT_EQ(in_use(), 1U) << "the block they came in has gone back";
  result.reset();
}

// What a program calls its members says nothing of how a socket reads.
TEST_F(AsyncReadSome, ADerivedSocketReadsLikeItsBase) {
  struct metered : loopback_pair::socket {
    explicit metered(loopback_pair::socket&& socket) : loopback_pair::socket(std::move(socket)) {}
    static std::size_t learnt() { return 3; }
  };
  metered mine(std::move(pair.near));
  send("hello");
  net::async_read_some(mine, pool, store());
  context.run();
  EXPECT_EQ(text_of(result->bytes), "hello");
  EXPECT_EQ(result->bytes.capacity(), 8U);
  result.reset();
}

TEST_F(AsyncReadSome, AQuarterOfABlockIsFew) {
  for (const std::size_t bytes : {net::read_bytes_default / 4, net::read_bytes_default / 4 + 1}) {
    const std::string sent(bytes, 'x');
    send(sent);
    net::async_read_some(pair.near, pool, store());
    context.restart();
    context.run();
    EXPECT_EQ(text_of(result->bytes), sent);
    EXPECT_EQ(result->bytes.capacity(), bytes == net::read_bytes_default / 4 ? bytes : net::read_bytes_default);
    result.reset();
  }
}

TEST_F(AsyncReadSome, BytesStayInTheirBlockWhereThereIsNoOther) {
  concurrent_pool alike({.size_classes = {8192}});
  send("x");
  net::async_read_some(pair.near, alike, store());
  context.run();
  EXPECT_EQ(text_of(result->bytes), "x");
  EXPECT_EQ(alike.stats().acquired, 1U);
  result.reset();

  concurrent_pool full({.budget_bytes_max = net::read_bytes_default});
  send("y");
  net::async_read_some(pair.near, full, store());
  context.restart();
  context.run();
  EXPECT_EQ(text_of(result->bytes), "y");
  EXPECT_EQ(result->bytes.capacity(), net::read_bytes_default);
  EXPECT_EQ(full.stats().refused, 0U) << "it was only a wish";
  result.reset();

  concurrent_pool small({.size_classes = {64, net::read_size::first_default}});
  send("z");
  net::async_read_some(pair.near, small, store());
  context.restart();
  context.run();
  EXPECT_EQ(result->bytes.capacity(), net::read_size::first_default) << "not worth moving";
  result.reset();
}
#endif

TEST_F(AsyncReadSome, WorksWithALocalPool) {
  local_pool local;
  send("local");
  net::async_read_some(pair.near, local, store());
  context.run();
  EXPECT_EQ(text_of(result->bytes), "local");
  result.reset();
  EXPECT_EQ(local.stats().in_use, 0U);
}

TEST_F(AsyncReadSome, TakesNoMoreThanAskedFor) {
  send("abcdef");
  net::async_read_some(pair.near, pool, store(), 4);
  context.run();
  EXPECT_EQ(text_of(result->bytes), "abcd");
  EXPECT_EQ(result->bytes.capacity(), 4U);
  net::async_read_some(pair.near, pool, store(), 8192);
  context.restart();
  context.run();
  EXPECT_EQ(text_of(result->bytes), "ef");
  EXPECT_EQ(result->bytes.capacity(), 8192U) << "what was asked for, though it is for little";
  send("gh");

  net::async_read_some(pair.near, pool, store(), 0);  // one byte is the least there is to read
  context.restart();
  context.run();
  EXPECT_EQ(text_of(result->bytes), "g");
  net::async_read_some(pair.near, pool, store(), SIZE_MAX / 2 + 1);  // cut to the largest class
  context.restart();
  context.run();
  EXPECT_EQ(text_of(result->bytes), "h");
}

TEST_F(AsyncReadSome, UsesTheLargestClassOfAPoolOfSmallBlocks) {
  concurrent_pool small({.size_classes = {64, 256}});
  send(std::string(1000, 'x'));
  net::async_read_some(pair.near, small, store());
  context.run();
  EXPECT_EQ(result->bytes.size(), 256U);
  EXPECT_EQ(small.stats().oversize, 0U);
  result.reset();
}

TEST_F(AsyncReadSome, ReportsTheEndOfTheStream) {
  pair.far.shutdown(asio::socket_base::shutdown_send);
  net::async_read_some(pair.near, pool, store());
  context.run();
  EXPECT_EQ(result->ec, asio::error::eof);
  EXPECT_FALSE(result->bytes);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncReadSome, ReportsAReset) {
  net::async_read_some(pair.near, pool, store());
  context.poll();
  pair.reset_far();
  context.run();
  EXPECT_EQ(result->ec, asio::error::connection_reset);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncReadSome, LeavesTheBytesInTheSocketWhenTheBudgetHasNoRoom) {
  concurrent_pool tight({.budget_bytes_max = net::read_bytes_default});
  buffer in_the_way = tight.acquire(net::read_bytes_default);
  send("later");
  net::async_read_some(pair.near, tight, store());
  context.run();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);
  EXPECT_FALSE(result->bytes);

  in_the_way.release();
  net::async_read_some(pair.near, tight, store());
  context.restart();
  context.run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(text_of(result->bytes), "later");
  result.reset();
}

TEST_F(AsyncReadSome, TakesASmallerBlockWhereTheBudgetIsShort) {
  concurrent_pool tight({.budget_bytes_max = net::read_bytes_default + 4096, .cache_bytes_max = 0});
  buffer in_the_way = tight.acquire(net::read_bytes_default);
  buffer little = tight.acquire(1000);
  send(std::string(5000, 'x'));
  net::async_read_some(pair.near, tight, store());
  context.run();
  ASSERT_FALSE(result->ec) << result->ec.message();
  EXPECT_EQ(result->bytes.size(), 2048U) << "the largest class that fits into what is left";
  result.reset();
  context.restart();

  // Too little to be worth a call.
  buffer more = tight.acquire(2048);
  buffer most = tight.acquire(512);
  buffer nearly_all = tight.acquire(256);
  net::async_read_some(pair.near, tight, store());
  context.run();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);
  result.reset();
}

TEST_F(AsyncReadSome, StandsBehindThoseWhoWaitForTheBudget) {
  concurrent_pool tight({.budget_bytes_max = 4 * net::read_bytes_default});
  buffer in_the_way = tight.acquire(3 * net::read_bytes_default);
  std::optional<asio::error_code> waited;
  net::async_acquire(tight, 2 * net::read_bytes_default,
                     asio::bind_executor(context, [&](asio::error_code ec, buffer) { waited = ec; }));
  send("later");
  net::async_read_some(pair.near, tight, store());
  while (!result) context.run_one();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space) << "there is room for it, but others were first";
  result.reset();
  in_the_way.release();
  net::async_read_some(pair.near, tight, store());
  context.run();
  EXPECT_EQ(waited, asio::error_code());
  EXPECT_EQ(text_of(result->bytes), "later");
  result.reset();
}

TEST_F(AsyncReadSome, LearnsFromWhatComesHowMuchToRead) {
  net::read_size size(64, 256, 4096);
  send(std::string(1000, 'x'));
  net::async_read_some(pair.near, pool, store(), size);
  context.run();
  EXPECT_EQ(result->bytes.size(), 256U);
  EXPECT_EQ(size.next(), 4096U) << "it was filled";
  result.reset();
  for (const std::size_t rest : std::initializer_list<std::size_t>{744, 10, 10, 10, 10}) {
    if (rest == 10) send(std::string(rest, 'x'));
    context.restart();
    net::async_read_some(pair.near, pool, store(), size);
    context.run();
    EXPECT_EQ(result->bytes.size(), rest);
    result.reset();
  }
  EXPECT_EQ(size.next(), 1024U) << "five small ones: two steps";
  context.restart();
  net::async_read_some(pair.near, pool, store(), size);
  context.poll();
  pair.near.cancel();
  context.run();
  EXPECT_EQ(size.next(), 1024U) << "nothing came, nothing is learnt";
}

TEST_F(AsyncReadSome, WaitsAgainWhenAnotherReaderWasFaster) {
  std::optional<outcome> other;
  net::async_read_some(pair.near, pool, store());
  net::async_read_some(pair.near, pool,
                       [&](asio::error_code ec, buffer bytes) { other.emplace(ec, std::move(bytes)); });
  context.poll();
  send("x");
  while (!result && !other) context.run_one();
  context.poll();
  EXPECT_NE(result.has_value(), other.has_value()) << "one byte, one reader";
  pair.near.cancel();
  context.run();
  ASSERT_TRUE(result && other);
  EXPECT_EQ((result->ec ? result : other)->ec, asio::error::operation_aborted);
  result.reset();
  other.reset();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncReadSome, IsCancelledBySocketCancelCloseAndSlot) {
  asio::cancellation_signal signal;
  const auto expect_aborted = [&](auto cancel) {
    result.reset();
    net::async_read_some(pair.near, pool, asio::bind_cancellation_slot(signal.slot(), store()));
    context.restart();
    context.poll();
    cancel();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    EXPECT_EQ(in_use(), 0U);
  };
  expect_aborted([&] { signal.emit(asio::cancellation_type::total); });
  expect_aborted([&] { pair.near.cancel(); });
  expect_aborted([&] { pair.near.close(); });
}

TEST_F(AsyncReadSome, OnAClosedSocketCompletesWithAnError) {
  pair.near.close();
  net::async_read_some(pair.near, pool, store());
  EXPECT_FALSE(result) << "never from within the call";
  context.run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
}

TEST_F(AsyncReadSome, RunsTheHandlerOnItsOwnExecutor) {
  asio::io_context other;
  send("x");
  net::async_read_some(pair.near, pool, asio::bind_executor(other, store()));
  context.run();
  EXPECT_FALSE(result);
  other.run();
  EXPECT_TRUE(result);
}

TEST_F(AsyncReadSome, NeverReadsFromAnotherConnection) {
  asio::io_context other;
  net::async_read_some(pair.near, pool, asio::bind_executor(other, store()));
  send("for the old one");
  context.run();  // readiness is known, the step that reads is on its way to its executor
  loopback_pair next(context);
  pair.near.close();
  const int descriptor = next.near.native_handle();
  pair.near = std::move(next.near);
  ASSERT_EQ(pair.near.native_handle(), descriptor);
  asio::write(next.far, asio::buffer("for the new one", 15));
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncReadSome, OnASocketClosedBetweenReadinessAndReadingIsAborted) {
  asio::io_context other;
  net::async_read_some(pair.near, pool, asio::bind_executor(other, store()));
  send("x");
  context.run();
  pair.near.close();
  other.run();
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(AsyncReadSome, KeepsACancellationThatComesBetweenTwoSteps) {
  asio::io_context other;
  asio::cancellation_signal signal;
  net::async_read_some(pair.near, pool,
                       asio::bind_executor(other, asio::bind_cancellation_slot(signal.slot(), store())));
  send("x");
  context.run();  // readiness is known: no wait to cancel
  std::string taken(1, '\0');
  asio::read(pair.near, asio::buffer(taken));  // and somebody else was faster
  signal.emit(asio::cancellation_type::terminal);
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(AsyncReadSome, ReadsWithABudgetSmallerThanItsUsualBlock) {
  concurrent_pool tiny({.budget_bytes_max = 8 << 10});
  net::async_read_some(pair.near, tiny, store(), net::read_bytes_default);
  send("hello");
  context.run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec) << result->ec.message();
  EXPECT_EQ(text_of(result->bytes), "hello");
  EXPECT_EQ(result->bytes.capacity(), 8U << 10);
  result.reset();
}

TEST_F(AsyncReadSome, TakesItsStateFromTheHandlersAllocator) {
  concurrent_pool handlers;
  net::async_read_some(pair.near, pool, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, loopback_pair::blocks_per_wait);
  send("x");
  context.run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
}

TEST_F(AsyncReadSome, CompletesAFuture) {
  const auto work = asio::make_work_guard(context);
  std::jthread runner([&] { context.run(); });
  std::future<buffer> first = net::async_read_some(pair.near, pool, asio::use_future);
  send("future");
  EXPECT_EQ(text_of(first.get()), "future");
  std::future<buffer> second = net::async_read_some(pair.near, pool, asio::use_future);
  pair.far.close();
  EXPECT_THROW(second.get(), std::system_error);
  context.stop();
}

#if defined(ASIO_HAS_CO_AWAIT)
TEST_F(AsyncReadSome, CompletesACoroutine) {
  std::string received;
  asio::error_code last;
  const auto reader = [&]() -> asio::awaitable<void> {
    try {
      for (;;) {
        const buffer bytes = co_await net::async_read_some(pair.near, pool, net::bind_pool(pool, asio::use_awaitable));
        received += text_of(bytes);
      }
    } catch (const std::system_error& fault) {
      last = fault.code();
    }
  };
  asio::co_spawn(context, reader(), asio::detached);
  send("co");
  context.poll();
  send("routine");
  pair.far.shutdown(asio::socket_base::shutdown_send);
  context.run();
  EXPECT_EQ(received, "coroutine");
  EXPECT_EQ(last, asio::error::eof);
  EXPECT_EQ(in_use(), 0U);
}
#endif

TEST(AsyncReadSomeLifetime, OperationsThatDieWithTheirContextHoldNothing) {
  concurrent_pool pool;
  {
    asio::io_context context;
    loopback_pair pair(context);
    net::async_read_some(pair.near, pool, net::bind_pool(pool, [](asio::error_code, buffer) { FAIL(); }));
    context.poll();
    EXPECT_EQ(pool.stats().in_use, loopback_pair::blocks_per_wait) << "the operation's state";
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
