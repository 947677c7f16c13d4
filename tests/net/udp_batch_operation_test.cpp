// SPDX-License-Identifier: MIT
// Batches as Asio operations: cancellation, executors, allocators, tokens, death.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <array>
#include <functional>
#include <future>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/udp_batch_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::udp_pair;

using UdpBatchOperation = support::udp_batch_fixture;

TEST_F(UdpBatchOperation, ReceiveIsCancelledBySocketCancelCloseAndSlot) {
  asio::cancellation_signal signal;
  const auto expect_aborted = [&](auto cancel) {
    result.reset();
    net::async_receive(pair.near, batch, asio::bind_cancellation_slot(signal.slot(), store()));
    context.restart();
    context.poll();
    cancel();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    EXPECT_EQ(result->count, 0U);
    EXPECT_EQ(in_use(), 0U);
  };
  expect_aborted([&] { signal.emit(asio::cancellation_type::total); });
  expect_aborted([&] { pair.near.cancel(); });
  expect_aborted([&] { pair.near.close(); });
}

TEST_F(UdpBatchOperation, OnAClosedSocketCompletesWithAnError) {
  pair.near.close();
  net::async_receive(pair.near, batch, store());
  EXPECT_FALSE(result);
  run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  batch.push_back(filled("x"), pair.far.local_endpoint());
  result.reset();
  net::async_send(pair.near, batch, store());
  EXPECT_FALSE(result);
  run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  EXPECT_EQ(result->count, 0U);
  EXPECT_EQ(in_use(), 1U) << "it is not lost";
}

TEST_F(UdpBatchOperation, RunsTheHandlerOnItsOwnExecutor) {
  asio::io_context other;
  const auto expect_there = [&](auto start) {
    result.reset();
    other.restart();
    start(asio::bind_executor(other, store()));
    run();
    EXPECT_FALSE(result);
    other.run();
    EXPECT_TRUE(result);
  };
  pair.send("x");
  expect_there([&](auto token) { net::async_receive(pair.near, batch, token); });
  expect_there([&](auto token) { net::async_send(pair.near, batch, token); });
  asio::any_io_executor erased = other.get_executor();
  const auto expect_erased = [&](auto start) {
    expect_there([&](auto) { start(asio::bind_executor(erased, store())); });
  };
  pair.send("x");
  expect_erased([&](auto token) { net::async_receive(pair.near, batch, token); });
  expect_erased([&](auto token) { net::async_send(pair.near, batch, token); });
  // Through a strand, too.
  pair.send("x");
  auto strand = asio::make_strand(context);
  bool in_strand = false;
  net::async_receive(pair.near, batch, asio::bind_executor(strand, [&](asio::error_code, std::size_t) {
                       in_strand = strand.running_in_this_thread();
                     }));
  run();
  EXPECT_TRUE(in_strand);
}

TEST_F(UdpBatchOperation, OnASocketClosedBetweenReadinessAndReceivingIsAborted) {
  asio::io_context other;
  net::async_receive(pair.near, batch, asio::bind_executor(other, store()));
  pair.send("for the old one");
  run();  // readiness is known, the step that receives is on its way to its executor
  udp_pair another(context);
  pair.near.close();
  // The descriptor's number is soon that of another socket, which has datagrams of its own.
  pair.near = std::move(another.near);
  another.far.send_to(asio::buffer("for the new one", 15), pair.near.local_endpoint());
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchOperation, KeepsACancellationOfAReceiveThatComesBetweenTwoSteps) {
  asio::io_context other;
  asio::cancellation_signal signal;
  net::async_receive(pair.near, batch,
                     asio::bind_executor(other, asio::bind_cancellation_slot(signal.slot(), store())));
  pair.send("x");
  run();  // readiness is known: no wait to cancel
  std::array<char, 1> taken{};
  pair.near.receive(asio::buffer(taken));  // and somebody else was faster
  signal.emit(asio::cancellation_type::terminal);
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(UdpBatchOperation, TakesItsStateFromTheHandlersAllocator) {
  concurrent_pool handlers;
  net::async_receive(pair.near, batch, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U);
  pair.send("x");
  run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
  net::async_send(pair.near, batch, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U) << "the completion, on its way";
  run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
}

TEST_F(UdpBatchOperation, CompletesAFuture) {
  const auto work = asio::make_work_guard(context);
  std::jthread runner([&] { context.run(); });
  std::future<std::size_t> received = net::async_receive(pair.near, batch, asio::use_future);
  pair.send("future");
  EXPECT_EQ(received.get(), 1U);
  std::future<std::size_t> sent = net::async_send(pair.near, batch, asio::use_future);
  EXPECT_EQ(sent.get(), 1U);
  EXPECT_EQ(pair.receive(), "future");
  context.stop();
}

#if defined(ASIO_HAS_CO_AWAIT)
TEST_F(UdpBatchOperation, CompletesACoroutine) {
  std::size_t echoed = 0;
  const auto echo = [&]() -> asio::awaitable<void> {
    net::udp_batch own(pool);
    while (echoed < 3) {
      co_await net::async_receive(pair.near, own, net::bind_pool(pool, asio::use_awaitable));
      echoed += co_await net::async_send(pair.near, own, asio::use_awaitable);
    }
  };
  asio::co_spawn(context, echo(), asio::detached);
  pair.send("1");
  context.poll();
  pair.send("2");
  pair.send("3");
  run();
  EXPECT_EQ(echoed, 3U);
  EXPECT_EQ(in_use(), 0U);
}
#endif

TEST_F(UdpBatchOperation, OperationsThatDieWithTheirContextHoldNothing) {
  {
    asio::io_context own;
    udp_pair mine(own);
    net::async_receive(mine.near, batch, net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    own.poll();
    EXPECT_EQ(in_use(), 1U) << "the operation's state";
  }
  EXPECT_EQ(in_use(), 0U);
  {
    asio::io_context own;
    udp_pair mine(own);
    batch.push_back(filled("x"), mine.far.local_endpoint());
    net::async_send(mine.near, batch, net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    EXPECT_EQ(in_use(), 1U) << "the completion";
  }
  EXPECT_EQ(in_use(), 0U);
}

// An echo on one socket, ended after so many handlers.
TEST_F(UdpBatchOperation, LosesNoBlockWhereverItsSocketIsClosed) {
  for (const bool closes : {true, false}) {
    for (int steps = 0; steps < 40; ++steps) {
      asio::io_context own;
      udp_pair mine(own);
      net::udp_batch echoed(pool, {.datagrams_max = 3});
      std::function<void(asio::error_code)> on_sent;
      const auto on_received = [&](asio::error_code ec, std::size_t) {
        if (ec) return;
        net::async_send(mine.near, echoed,
                        net::bind_pool(pool, [&](asio::error_code error, std::size_t) { on_sent(error); }));
      };
      on_sent = [&](asio::error_code ec) {
        if (!ec) net::async_receive(mine.near, echoed, net::bind_pool(pool, on_received));
      };
      on_sent({});
      for (int step = 0; step < steps; ++step) {
        mine.send("x");
        own.run_one();
      }
      closes ? mine.near.close() : mine.near.cancel();
      // A cancellation may find nothing to cancel, between two operations.
      own.poll();
      mine.near.close();
      own.run();
      echoed.clear();
      ASSERT_EQ(in_use(), 0U) << steps;
    }
  }
  EXPECT_TRUE(pool.check_invariants());
}

// What the thread that runs the context takes from the heap in steady state, with several sockets at once,
// because Asio by itself keeps memory for one operation of a kind.
template <class Pair>
class UdpBatchAllocations : public ::testing::Test {};
using all_pairs = ::testing::Types<udp_pair, support::basic_udp_pair<asio::any_io_executor>>;
TYPED_TEST_SUITE(UdpBatchAllocations, all_pairs);

TYPED_TEST(UdpBatchAllocations, NonePerBatch) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  constexpr std::size_t sockets = 8;
  constexpr int warm_up = 50;
  constexpr int counted = 200;
  constexpr int per_batch = 5;
  concurrent_pool pool;
  asio::io_context context;
  struct session {
    session(asio::io_context& io, concurrent_pool& from) : pair(io), pool(from), batch(from, {.datagrams_max = 5}) {}
    void receive() {
      net::async_receive(pair.near, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t) {
                           if (!ec) echo();
                         }));
    }
    void echo() {
      net::async_send(pair.near, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t count) {
                        echoed += count;
                        if (!ec) receive();
                      }));
    }
    TypeParam pair;
    concurrent_pool& pool;
    net::udp_batch batch;
    std::size_t echoed = 0;
  };
  std::vector<std::unique_ptr<session>> sessions;
  for (std::size_t index = 0; index < sockets; ++index) {
    sessions.push_back(std::make_unique<session>(context, pool));
    sessions.back()->receive();
  }
  std::uint64_t before = 0;
  std::uint64_t allocations = ~std::uint64_t{0};
  std::array<char, 100> message{};
  // From within the context: Asio recycles memory only while it runs.
  asio::post(context, [&] {
    for (int trip = 0; trip < warm_up + counted; ++trip) {
      if (trip == warm_up) before = support::heap_allocations_of_this_thread();
      for (const auto& each : sessions) {
        for (int index = 0; index < per_batch; ++index) {
          each->pair.far.send_to(asio::buffer(message), each->pair.near.local_endpoint());
        }
      }
      for (const auto& each : sessions) {
        const std::size_t wanted = static_cast<std::size_t>(trip + 1) * per_batch;
        while (each->echoed < wanted) context.run_one();
        udp::endpoint from;
        for (int index = 0; index < per_batch; ++index) each->pair.far.receive_from(asio::buffer(message), from);
      }
    }
    allocations = support::heap_allocations_of_this_thread() - before;
    for (const auto& each : sessions) each->pair.near.close();
  });
  context.run();
  EXPECT_EQ(allocations, 0U);
}

}  // namespace
}  // namespace slabbuf
