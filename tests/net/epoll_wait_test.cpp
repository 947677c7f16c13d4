// SPDX-License-Identifier: MIT
// A wait of an epoll_socket: where its handler is called, in whose memory it lies, and how it is cancelled.
#include <slabbuf/net/detail/epoll_wait.hpp>

#include <slabbuf/net/epoll_socket.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "support/epoll_fixture.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using support::epoll_loopback_pair;
using support::tcp_epoll_socket;

class EpollWait : public support::epoll_fixture {};

TEST_F(EpollWait, ACancellationReachesItsOwnWaitOnly) {
  pair sockets(context);
  std::optional<asio::error_code> first, second, later;
  asio::cancellation_signal signal;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(first));
  sockets.near.async_wait(tcp_epoll_socket::wait_read, asio::bind_cancellation_slot(signal.slot(), store(second)));
  signal.emit(asio::cancellation_type::none);
  context.poll();
  EXPECT_FALSE(second);
  signal.emit(asio::cancellation_type::terminal);
  while (!second) context.run_one();
  EXPECT_EQ(second, asio::error::operation_aborted);
  EXPECT_FALSE(first);
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  EXPECT_EQ(first, asio::error_code());
  // Whose wait is over: the next one may be in the same place.
  sockets.near.async_wait(tcp_epoll_socket::wait_read, asio::bind_cancellation_slot(signal.slot(), store(first)));
  run();
  char byte = 0;
  sockets.near.read_some(asio::buffer(&byte, 1));
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(later));
  signal.emit(asio::cancellation_type::terminal);
  context.restart();
  context.poll();
  EXPECT_FALSE(later);
  sockets.near.close();
  run();
}

// What a turn has found ready may be cancelled, or lose its socket, before it is called.
TEST_F(EpollWait, ACancellationReachesWaitsThatHaveBeenFoundReady) {
  pair sockets(context);
  std::vector<asio::error_code> ended;
  std::array<char, 2> bytes{};
  asio::write(sockets.far, asio::buffer("x", 1));
  for (char& each : bytes) {
    sockets.near.async_read_some(asio::buffer(&each, 1), [&](asio::error_code ec, std::size_t) {
      ended.push_back(ec);
      sockets.near.cancel();
    });
  }
  run();
  EXPECT_EQ(ended, (std::vector<asio::error_code>{{}, asio::error::operation_aborted}));
}

TEST_F(EpollWait, HandlersRunWhereTheyAreBound) {
  pair sockets(context);
  asio::io_context elsewhere;
  std::optional<asio::error_code> waited;
  sockets.near.async_wait(tcp_epoll_socket::wait_read,
                          asio::bind_executor(elsewhere.get_executor(), [&](asio::error_code ec) { waited = ec; }));
  elsewhere.poll();
  EXPECT_FALSE(elsewhere.stopped()) << "it has work as long as the wait is under way";
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  EXPECT_FALSE(waited);
  elsewhere.run();
  EXPECT_EQ(waited, asio::error_code());

  waited.reset();
  const auto strand = asio::make_strand(context);
  sockets.near.async_wait(tcp_epoll_socket::wait_read, asio::bind_executor(strand, [&](asio::error_code ec) {
                            EXPECT_TRUE(strand.running_in_this_thread());
                            waited = ec;
                          }));
  run();
  EXPECT_EQ(waited, asio::error_code());

  tcp_epoll_socket closed(context);
  waited.reset();
  closed.async_wait(tcp_epoll_socket::wait_read, asio::bind_executor(strand, [&](asio::error_code ec) {
                      EXPECT_TRUE(strand.running_in_this_thread());
                      waited = ec;
                    }));
  run();
  EXPECT_EQ(waited, asio::error::bad_descriptor);
}

TEST_F(EpollWait, CompletesAFuture) {
  pair sockets(context);
  std::future<void> waited = sockets.near.async_wait(tcp_epoll_socket::wait_read, asio::use_future);
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  waited.get();
}

// A handler too large for the room of its descriptor, with an allocator of its own.
TEST_F(EpollWait, TakesALargeHandlersMemoryFromItsAllocator) {
  concurrent_pool pool;
  pair sockets(context);
  std::array<char, 500> large{};
  bool called = false;
  asio::write(sockets.far, asio::buffer("x", 1));
  sockets.near.async_wait(tcp_epoll_socket::wait_read, net::bind_pool(pool, [&called, large](asio::error_code ec) {
                            EXPECT_FALSE(ec);
                            called = large.front() == 0;
                          }));
  EXPECT_EQ(pool.stats().in_use, 1U);
  run();
  EXPECT_TRUE(called);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// Handlers of two strands run side by side: here the first waits for the second.
TEST(EpollWaitThreads, StrandsRunSideBySide) {
  asio::io_context context;
  epoll_loopback_pair one(context);
  epoll_loopback_pair other(context);
  const auto first = asio::make_strand(context);
  const auto second = asio::make_strand(context);
  std::promise<void> met;
  bool has_met = false;
  one.near.async_wait(tcp_epoll_socket::wait_read, asio::bind_executor(first, [&](asio::error_code) {
                        has_met = met.get_future().wait_for(std::chrono::minutes(1)) == std::future_status::ready;
                      }));
  other.near.async_wait(tcp_epoll_socket::wait_read,
                        asio::bind_executor(second, [&](asio::error_code) { met.set_value(); }));
  asio::write(one.far, asio::buffer("x", 1));
  asio::write(other.far, asio::buffer("x", 1));
  std::thread helper([&] { context.run(); });
  context.run();
  helper.join();
  EXPECT_TRUE(has_met);
}

// Cancellation by slots, on the strands of the sessions, while turns run on other threads.
TEST(EpollWaitThreads, SlotsAreEmittedWhileOthersTakeTurns) {
  constexpr int sessions = 16;
  constexpr int rounds = 200;
  asio::io_context context;
  struct session {
    explicit session(asio::io_context& io) : sockets(io), strand(io.get_executor()) {}
    void read() {
      sockets.near.async_read_some(
          asio::buffer(&byte, 1),
          asio::bind_executor(strand,
                              asio::bind_cancellation_slot(signal.slot(), [this](asio::error_code ec, std::size_t) {
                                ++(ec == asio::error::operation_aborted ? cancelled : received);
                                if (++ended < rounds) read();
                              })));
      // One of the two is first.
      asio::error_code ignored;
      asio::write(sockets.far, asio::buffer("x", 1), ignored);
      asio::post(strand, [this] { signal.emit(asio::cancellation_type::terminal); });
    }
    epoll_loopback_pair sockets;
    asio::strand<asio::io_context::executor_type> strand;
    asio::cancellation_signal signal;
    char byte = 0;
    int ended = 0;
    int cancelled = 0;
    int received = 0;
  };
  std::vector<std::unique_ptr<session>> all;
  for (int count = 0; count < sessions; ++count) {
    all.push_back(std::make_unique<session>(context));
    asio::post(all.back()->strand, [one = all.back().get()] { one->read(); });
  }
  std::vector<std::thread> threads;
  for (int count = 0; count < 4; ++count) threads.emplace_back([&] { context.run(); });
  for (std::thread& each : threads) each.join();
  for (const auto& each : all) {
    EXPECT_EQ(each->ended, rounds);
    EXPECT_EQ(each->cancelled + each->received, rounds);
  }
}

}  // namespace
}  // namespace slabbuf
