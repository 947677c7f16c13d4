// SPDX-License-Identifier: MIT
#include <slabbuf/net/async_write.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <poll.h>
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

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using support::loopback_pair;

// More than both sockets' kernel buffers take, so that a write has to wait.
constexpr std::size_t large_bytes = std::size_t{16} << 20;

class AsyncWrite : public ::testing::Test {
 protected:
  buffer filled(std::string_view text) {
    buffer bytes = pool.acquire(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
  }
  buffer large() {
    buffer bytes = pool.acquire(large_bytes);
    std::byte* const data = bytes.data();
    for (std::size_t index = 0; index < large_bytes; ++index) data[index] = pattern(index);
    return bytes;
  }
  static std::byte pattern(std::size_t index) { return static_cast<std::byte>(index * 2654435761U >> 13); }

  auto store() {
    return [this](asio::error_code ec, std::size_t bytes) {
      result.emplace(outcome{ec, bytes});
      in_use_at_completion = in_use();
    };
  }
  std::uint64_t in_use() const { return pool.stats().in_use; }

  struct outcome {
    asio::error_code ec;
    std::size_t bytes;
  };
  concurrent_pool pool;
  asio::io_context context;
  loopback_pair pair{context};
  std::optional<outcome> result;
  std::uint64_t in_use_at_completion = 99;
};

TEST_F(AsyncWrite, GivesTheBlockBackAsSoonAsTheSocketHasTheBytes) {
  net::async_write(pair.near, filled("hello"), store());
  EXPECT_EQ(in_use(), 0U) << "before any handler ran";
  EXPECT_FALSE(result) << "never from within the call";
  context.run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, 5U);
  std::string received(5, '\0');
  asio::read(pair.far, asio::buffer(received));
  EXPECT_EQ(received, "hello");
}

TEST_F(AsyncWrite, WritesAllOfALargeBufferToASlowReader) {
  net::async_write(pair.near, large(), store());
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(in_use(), 1U);

  std::jthread reader([&] {
    std::string received(large_bytes, '\0');
    asio::read(pair.far, asio::buffer(received));
    std::size_t wrong = 0;
    for (std::size_t index = 0; index < large_bytes; ++index) {
      wrong += static_cast<std::byte>(received[index]) != pattern(index) ? 1U : 0U;
    }
    EXPECT_EQ(wrong, 0U);
  });
  context.run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, large_bytes);
  EXPECT_EQ(in_use_at_completion, 0U);
}

TEST_F(AsyncWrite, OfNothingCompletes) {
  net::async_write(pair.near, buffer{}, store());
  context.run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, 0U);
}

TEST_F(AsyncWrite, OfAPrefixAfterResize) {
  buffer bytes = filled("hello world");
  bytes.resize(5);
  net::async_write(pair.near, std::move(bytes), store());
  context.run();
  EXPECT_EQ(result->bytes, 5U);
  EXPECT_EQ(pair.far.available(), 5U);
}

TEST_F(AsyncWrite, WorksWithALocalPool) {
  local_pool local;
  net::async_write(pair.near, local.acquire(10), net::bind_pool(local, store()));
  context.run();
  EXPECT_EQ(result->bytes, 10U);
  EXPECT_EQ(local.stats().in_use, 0U);
}

TEST_F(AsyncWrite, ToAPeerThatHasGoneFailsWithoutASignal) {
  pair.reset_far();
  // The first write may go out before the reset is seen.
  for (int attempt = 0; attempt < 2; ++attempt) {
    net::async_write(pair.near, filled("x"), store());
    context.restart();
    context.run();
  }
  EXPECT_TRUE(result->ec == asio::error::broken_pipe || result->ec == asio::error::connection_reset) << result->ec;
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncWrite, FailsWhileWaitingWhenThePeerResets) {
  net::async_write(pair.near, large(), store());
  context.poll();
  pair.reset_far();
  context.run();
  EXPECT_TRUE(result->ec == asio::error::broken_pipe || result->ec == asio::error::connection_reset) << result->ec;
  EXPECT_LT(result->bytes, large_bytes);
  EXPECT_EQ(in_use_at_completion, 0U);
}

TEST_F(AsyncWrite, IsCancelledBySocketCancelCloseAndSlot) {
  asio::cancellation_signal signal;
  const auto expect_aborted = [&](auto cancel) {
    result.reset();
    net::async_write(pair.near, large(), asio::bind_cancellation_slot(signal.slot(), store()));
    context.restart();
    context.poll();
    ASSERT_FALSE(result);
    cancel();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    EXPECT_LT(result->bytes, large_bytes);
    EXPECT_EQ(in_use_at_completion, 0U);
  };
  expect_aborted([&] { signal.emit(asio::cancellation_type::terminal); });
  expect_aborted([&] { pair.near.cancel(); });
  expect_aborted([&] { pair.near.close(); });
}

TEST_F(AsyncWrite, IsNotEndedByTotalCancellationBecauseBytesAreOut) {
  asio::cancellation_signal signal;
  net::async_write(pair.near, large(), asio::bind_cancellation_slot(signal.slot(), store()));
  context.poll();
  signal.emit(asio::cancellation_type::total);
  context.poll();
  EXPECT_FALSE(result);
  signal.emit(asio::cancellation_type::partial);
  context.run();
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(AsyncWrite, KeepsACancellationThatComesBetweenTwoSteps) {
  asio::io_context other;
  asio::cancellation_signal signal;
  net::async_write(pair.near, large(),
                   asio::bind_executor(other, asio::bind_cancellation_slot(signal.slot(), store())));
  // Room for another step, where the first has left none: then the wait ends, and the step is on its way to its
  // executor.
  std::string received(1 << 20, '\0');
  for (::pollfd room{pair.near.native_handle(), POLLOUT, 0}; ::poll(&room, 1, 0) == 0;)
    pair.far.read_some(asio::buffer(received));
  ASSERT_GE(context.poll(), 1U);
  signal.emit(asio::cancellation_type::terminal);  // no wait to cancel
  other.run_for(std::chrono::seconds(60));         // does not end where there was one
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(AsyncWrite, LetsOtherHandlersRunWithinALargeBuffer) {
  std::jthread reader([&] {
    std::string received(large_bytes, '\0');
    asio::read(pair.far, asio::buffer(received));
  });
  net::async_write(pair.near, large(), store());
  EXPECT_EQ(in_use(), 1U) << "not all of it in one step, however fast the peer reads";
  context.run();
  EXPECT_EQ(result->bytes, large_bytes);
}

TEST_F(AsyncWrite, OnAClosedSocketCompletesWithAnError) {
  pair.near.close();
  net::async_write(pair.near, filled("x"), store());
  EXPECT_EQ(in_use(), 0U);
  context.run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  EXPECT_EQ(result->bytes, 0U);
}

TEST_F(AsyncWrite, RunsTheHandlerOnItsOwnExecutor) {
  asio::io_context other;
  net::async_write(pair.near, filled("x"), asio::bind_executor(other, store()));
  context.run();
  EXPECT_FALSE(result);
  other.run();
  EXPECT_TRUE(result);
}

TEST_F(AsyncWrite, TakesItsStateFromTheHandlersAllocator) {
  concurrent_pool handlers;
  net::async_write(pair.near, filled("x"), net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U) << "the posted completion";
  context.run();
  EXPECT_EQ(handlers.stats().in_use, 0U);

  net::async_write(pair.near, large(), net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, loopback_pair::blocks_per_wait) << "the wait";
  pair.near.close();
  context.restart();
  context.run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
}

TEST_F(AsyncWrite, CompletesAFuture) {
  const auto work = asio::make_work_guard(context);
  std::jthread runner([&] { context.run(); });
  std::future<std::size_t> written = net::async_write(pair.near, filled("future"), asio::use_future);
  EXPECT_EQ(written.get(), 6U);
  context.stop();
}

#if defined(ASIO_HAS_CO_AWAIT)
TEST_F(AsyncWrite, CompletesACoroutine) {
  std::size_t written = 0;
  const auto writer = [&]() -> asio::awaitable<void> {
    written += co_await net::async_write(pair.near, filled("co"), asio::use_awaitable);
    written += co_await net::async_write(pair.near, filled("routine"), net::bind_pool(pool, asio::use_awaitable));
  };
  asio::co_spawn(context, writer(), asio::detached);
  context.run();
  EXPECT_EQ(written, 9U);
  EXPECT_EQ(in_use(), 0U);
}
#endif

TEST(AsyncWriteLifetime, OperationsThatDieWithTheirContextHoldNothing) {
  concurrent_pool pool;
  {
    asio::io_context context;
    loopback_pair pair(context);
    net::async_write(pair.near, pool.acquire(large_bytes),
                     net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    EXPECT_EQ(pool.stats().in_use, 1U + loopback_pair::blocks_per_wait) << "the buffer and the operation's state";
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// Of as many blocks as one call takes, one more, and many.
TEST_F(AsyncWrite, WritesAChainOfAnyNumberOfBlocksInOrder) {
  for (const std::size_t blocks : std::initializer_list<std::size_t>{0, 1, 2, 16, 17, 63, 64, 65, 128, 1000}) {
    buffer_chain chain;
    std::string expected;
    for (std::size_t index = 0; index < blocks; ++index) {
      const std::string text = std::to_string(index) + ',';
      chain.append(filled(text));
      expected += text;
    }
    result.reset();
    net::async_write(pair.near, std::move(chain), store());
    EXPECT_FALSE(result);
    context.restart();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->ec);
    EXPECT_EQ(result->bytes, expected.size());
    EXPECT_EQ(in_use_at_completion, 0U);
    std::string seen(expected.size(), '?');
    asio::read(pair.far, asio::buffer(seen));
    EXPECT_EQ(seen, expected) << blocks;
  }
}

TEST_F(AsyncWrite, ALargeChainGivesItsBlocksBackAsTheyAreTaken) {
  constexpr std::size_t block_bytes = std::size_t{64} << 10;
  buffer_chain chain;
  for (std::size_t position = 0; position < large_bytes; position += block_bytes) {
    buffer bytes = pool.acquire(block_bytes);
    for (std::size_t index = 0; index < block_bytes; ++index) bytes.data()[index] = pattern(position + index);
    chain.append(std::move(bytes));
  }
  const std::uint64_t before = in_use();
  net::async_write(pair.near, std::move(chain), store());
  EXPECT_LT(in_use(), before) << "the socket took some at once";
  EXPECT_GT(in_use(), 0U);
  std::vector<std::byte> seen(large_bytes);
  std::thread reader([&] { asio::read(pair.far, asio::buffer(seen)); });
  context.run();
  reader.join();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, large_bytes);
  EXPECT_EQ(in_use_at_completion, 0U);
  for (std::size_t index = 0; index < large_bytes; ++index) ASSERT_EQ(seen[index], pattern(index)) << index;
}

TEST_F(AsyncWrite, ACancelledChainLosesNoBlock) {
  buffer_chain chain;
  for (int count = 0; count < 300; ++count) chain.append(filled(std::string(64 << 10, 'x')));
  net::async_write(pair.near, std::move(chain), store());
  context.poll();
  EXPECT_FALSE(result);
  pair.near.cancel();
  context.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_GT(result->bytes, 0U);
  EXPECT_EQ(in_use(), 0U);
}

// The bytes are sent to all of them from one place.
TEST_F(AsyncWrite, OneSliceIsSentToManySocketsFromOneBlock) {
  constexpr std::size_t count = 50;
  std::vector<std::unique_ptr<loopback_pair>> pairs;
  shared_slice news(filled("headline: the rest"));
  news.trim(8);
  std::size_t completed = 0;
  for (std::size_t index = 0; index < count; ++index) {
    pairs.push_back(std::make_unique<loopback_pair>(context));
    net::async_write(pairs.back()->near, news.share(), [&](asio::error_code ec, std::size_t bytes) {
      EXPECT_FALSE(ec);
      EXPECT_EQ(bytes, 8U);
      ++completed;
    });
    EXPECT_EQ(in_use(), 1U);
  }
  news.release();
  context.run();
  EXPECT_EQ(completed, count);
  EXPECT_EQ(in_use(), 0U);
  for (const auto& each : pairs) {
    std::string seen(8, '?');
    asio::read(each->far, asio::buffer(seen));
    EXPECT_EQ(seen, "headline");
  }
}

}  // namespace
}  // namespace slabbuf
