// SPDX-License-Identifier: MIT
// What an io_context's epoll_sockets share: who is asked when, what a turn does, and how it ends.
#include <slabbuf/net/detail/epoll_service.hpp>

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/epoll_socket.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <linux/net_tstamp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/strand.hpp>
#include <asio/write.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/epoll_calls.hpp"
#include "support/epoll_fixture.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using support::epoll_loopback_pair;
using support::tcp_epoll_socket;

class EpollService : public support::epoll_fixture {};

TEST_F(EpollService, SeveralMayWaitForTheSame) {
  pair sockets(context);
  std::array<std::optional<asio::error_code>, 3> waited;
  for (auto& each : waited) sockets.near.async_wait(tcp_epoll_socket::wait_read, store(each));
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  for (const auto& each : waited) EXPECT_EQ(each, asio::error_code());
}

// The system is asked once for a connection, and what Asio does is shared by all that are ready.
TEST_F(EpollService, AsksTheSystemOnceForAConnectionNotForAWait) {
  constexpr int connections = 32;
  constexpr int rounds = 50;
  std::vector<std::unique_ptr<pair>> pairs;
  for (int count = 0; count < connections; ++count) pairs.push_back(std::make_unique<pair>(context));
  int waits = 0;
  std::function<void(tcp_epoll_socket&)> wait = [&](tcp_epoll_socket& one) {
    one.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code ec) {
      if (ec) return;
      char byte = 0;
      one.read_some(asio::buffer(&byte, 1));
      ++waits;
      wait(one);
    });
  };
  for (const auto& each : pairs) wait(each->near);
  context.poll();
  const int before = support::epoll_calls.ctl;
  for (int round = 1; round <= rounds; ++round) {
    for (const auto& each : pairs) asio::write(each->far, asio::buffer("x", 1));
    while (waits < round * connections) context.run_one();
  }
  // A round is a turn nearly always; the kernel may deliver in two.
  EXPECT_LE(support::epoll_calls.ctl - before, rounds * 4);
  for (const auto& each : pairs) each->near.close();
  context.run();
}

TEST_F(EpollService, BytesThatNobodyWaitsForKeepNobodyBusy) {
  pair quiet(context);
  pair busy(context);
  std::optional<asio::error_code> waited;
  asio::write(busy.far, asio::buffer("x", 1));
  busy.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  run();
  ASSERT_TRUE(waited);
  // Its byte is still there, and it is in the set.
  quiet.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  context.restart();
  while (context.poll() != 0) {
  }
  const int before = support::epoll_calls.wait;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(support::epoll_calls.wait - before, 100) << "Asio's own";
  // Somebody waits again.
  waited.reset();
  busy.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  while (!waited) context.run_one();
  // A peer that has gone altogether is a level that cannot be masked.
  busy.reset_far();
  while (context.poll() != 0) {
  }
  const int after_reset = support::epoll_calls.wait;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(support::epoll_calls.wait - after_reset, 100);
}

// A message in the error queue is a level that reading does not take away.
TEST_F(EpollService, AnErrorQueueKeepsNobodyBusy) {
  pair sockets(context);
  constexpr int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
  if (::setsockopt(sockets.near.native_handle(), SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps) != 0) {
    GTEST_SKIP() << "the system has no time stamps";
  }
  char byte = 0;
  std::optional<asio::error_code> read;
  const auto read_one = [&] {
    read.reset();
    sockets.near.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { read = ec; });
  };
  read_one();
  sockets.near.write_some(asio::buffer("s", 1));
  context.restart();
  while (context.poll() != 0) {
  }
  const int before = support::epoll_calls.wait;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(support::epoll_calls.wait - before, 100) << "Asio's own";
  // What comes is read all the same: what was there before the wait, in parts, and the end.
  asio::write(sockets.far, asio::buffer("abc", 3));
  for (const char expected : std::string_view("abc")) {
    run();
    EXPECT_EQ(read, asio::error_code());
    EXPECT_EQ(byte, expected);
    read_one();
  }
  sockets.far.shutdown(tcp::socket::shutdown_send);
  run();
  EXPECT_EQ(read, asio::error::eof);
}

TEST_F(EpollService, RunReturnsWhenNobodyWaits) {
  pair sockets(context);
  run();
  std::optional<asio::error_code> waited;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  context.restart();
  [[maybe_unused]] const std::size_t handlers = context.poll();
#if !defined(ASIO_HAS_IO_URING_AS_DEFAULT)  // a ring has handlers of its own
  EXPECT_EQ(handlers, 0U);
#endif
  EXPECT_FALSE(waited);
  EXPECT_FALSE(context.stopped()) << "a wait is work";
  sockets.near.cancel();
  EXPECT_FALSE(waited) << "within the call";
  context.run();
  EXPECT_EQ(waited, asio::error::operation_aborted);
}

TEST_F(EpollService, SaysWhenTheSystemWatchesNoMore) {
  pair sockets(context);
  std::optional<asio::error_code> waited;
  support::epoll_ctl_error = ENOSPC;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  support::epoll_ctl_error = 0;
  EXPECT_FALSE(waited);
  run();
  ASSERT_TRUE(waited);
  EXPECT_EQ(waited->value(), ENOSPC);
  // It has lost nothing.
  asio::write(sockets.far, asio::buffer("x", 1));
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  run();
  EXPECT_EQ(waited, asio::error_code());
}

TEST_F(EpollService, MoreMayBeReadyThanATurnTakes) {
  std::vector<std::unique_ptr<pair>> pairs;
  int ended = 0;
  for (int count = 0; count < 300; ++count) {
    pairs.push_back(std::make_unique<pair>(context));
    asio::write(pairs.back()->far, asio::buffer("x", 1));
    pairs.back()->near.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code ec) {
      EXPECT_FALSE(ec);
      ++ended;
    });
  }
  run();
  EXPECT_EQ(ended, 300);
}

TEST_F(EpollService, AHandlerThatThrowsTakesNobodyElseAlong) {
  std::vector<std::unique_ptr<pair>> pairs;
  int ended = 0;
  for (int count = 0; count < 4; ++count) {
    pairs.push_back(std::make_unique<pair>(context));
    asio::write(pairs.back()->far, asio::buffer("x", 1));
    pairs.back()->near.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code ec) {
      EXPECT_FALSE(ec);
      ++ended;
      throw std::runtime_error("a handler's");
    });
  }
  for (int thrown = 1; thrown <= 4; ++thrown) {
    EXPECT_THROW(context.run(), std::runtime_error);
    EXPECT_EQ(ended, thrown);
  }
  EXPECT_EQ(context.run(), 0U);
}

TEST_F(EpollService, AHandlerMayCloseTheOthersOfItsTurn) {
  concurrent_pool pool;
  pair one(context);
  pair other(context);
  int ended = 0;
  const auto read = [&](pair& mine, pair& its) {
    asio::write(mine.far, asio::buffer("x", 1));
    net::async_read_some(mine.near, pool, [&ended, &its](asio::error_code ec, buffer got) {
      EXPECT_EQ(ec, ended == 0 ? asio::error_code() : asio::error_code(asio::error::operation_aborted));
      EXPECT_EQ(got.size(), ended == 0 ? 1U : 0U);
      ++ended;
      its.near.close();
    });
  };
  read(one, other);
  read(other, one);
  run();
  EXPECT_EQ(ended, 2);
}

TEST_F(EpollService, AHandlerMayDestroyTheOthersOfItsTurn) {
  std::array<std::unique_ptr<pair>, 3> pairs;
  int ended = 0;
  char byte = 0;
  for (auto& each : pairs) {
    each = std::make_unique<pair>(context);
    asio::write(each->far, asio::buffer("x", 1));
  }
  for (auto& each : pairs) {
    each->near.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) {
      EXPECT_EQ(ec, ended == 0 ? asio::error_code() : asio::error_code(asio::error::operation_aborted));
      ++ended;
      for (auto& one : pairs) one.reset();
    });
  }
  run();
  EXPECT_EQ(ended, 3);
}

TEST_F(EpollService, AChainOfCancellationsKeepsNobodyWaiting) {
  pair cancelled(context);
  pair ready(context);
  asio::write(ready.far, asio::buffer("x", 1));
  int cancellations = 0;
  bool called = false;
  std::function<void()> wait = [&] {
    cancelled.near.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code) {
      if (!called && ++cancellations < 1000) wait();
    });
    cancelled.near.cancel();
  };
  wait();
  ready.near.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code) { called = true; });
  run();
  EXPECT_TRUE(called);
  EXPECT_LT(cancellations, 10);
}

// Sessions that their handlers own, and which own their sockets.
TEST(EpollServiceLifetime, WaitsThatDieWithTheirContextAreDestroyed) {
  const auto alive = std::make_shared<int>(0);
  {
    asio::io_context context;
    for (int count = 0; count < 10; ++count) {
      auto sockets = std::make_unique<epoll_loopback_pair>(context);
      tcp_epoll_socket& near = sockets->near;
      near.async_wait(tcp_epoll_socket::wait_read,
                      [alive, owned = std::shared_ptr<epoll_loopback_pair>(std::move(sockets))](asio::error_code) {
                        FAIL() << "called";
                      });
    }
    // One of them on its way to its end.
    epoll_loopback_pair sockets(context);
    sockets.near.async_wait(tcp_epoll_socket::wait_read, [alive](asio::error_code) { FAIL() << "called"; });
    sockets.near.cancel();
    EXPECT_EQ(alive.use_count(), 12);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(EpollServiceLifetime, AChildHasASetOfItsOwn) {
#if defined(ASIO_HAS_IO_URING_AS_DEFAULT)
  GTEST_SKIP() << "Asio's waits themselves do not come along into a child, over io_uring";
#endif
  asio::io_context context;
  epoll_loopback_pair sockets(context);
  std::optional<asio::error_code> waited;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, [&](asio::error_code ec) { waited = ec; });
  context.poll();
  context.notify_fork(asio::io_context::fork_prepare);
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    context.notify_fork(asio::io_context::fork_child);
    asio::write(sockets.far, asio::buffer("x", 1));
    context.run();
    char byte = 0;
    // By a signal, at whose end memcheck does not look for what a child has of its parent's threads.
    if (waited && !*waited && sockets.near.read_some(asio::buffer(&byte, 1)) == 1) ::raise(SIGKILL);
    ::_exit(1);
  }
  context.notify_fork(asio::io_context::fork_parent);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it has read its byte: " << status;
  // The parent's goes on.
  EXPECT_FALSE(waited);
  asio::write(sockets.far, asio::buffer("y", 1));
  context.run();
  EXPECT_EQ(waited, asio::error_code());
}

// Several threads run the io_context; each session has a strand.
TEST(EpollServiceThreads, EverySessionEndsAndGetsItsBytes) {
  constexpr int sessions = 64;
  constexpr std::size_t bytes_each = 20'000;
  asio::io_context context;
  concurrent_pool pool;
  struct session {
    explicit session(asio::io_context& io) : sockets(io), strand(io.get_executor()) {}
    void read(concurrent_pool& from) {
      net::async_read_some(
          sockets.near, from, asio::bind_executor(strand, [this, &from](asio::error_code ec, buffer got) {
            if (ec) return void(ended = true);
            net::async_write(sockets.near, std::move(got),
                             asio::bind_executor(strand, [this, &from](asio::error_code error, std::size_t) {
                               if (error) return void(ended = true);
                               read(from);
                             }));
          }));
    }
    epoll_loopback_pair sockets;
    asio::strand<asio::io_context::executor_type> strand;
    bool ended = false;
  };
  std::vector<std::unique_ptr<session>> all;
  for (int count = 0; count < sessions; ++count) {
    all.push_back(std::make_unique<session>(context));
    all.back()->read(pool);
  }
  std::vector<std::thread> threads;
  for (int count = 0; count < 4; ++count) threads.emplace_back([&] { context.run(); });
  const std::string sent(bytes_each, 'x');
  std::string received(bytes_each, '\0');
  for (const auto& each : all) {
    asio::error_code ec;
    asio::write(each->sockets.far, asio::buffer(sent), ec);
    asio::read(each->sockets.far, asio::buffer(received), ec);
    EXPECT_FALSE(ec);
    EXPECT_EQ(received, sent);
  }
  for (int index = 0; index < sessions; ++index) {
    session& one = *all[static_cast<std::size_t>(index)];
    if (index % 2 == 0) {
      one.sockets.far.shutdown(tcp::socket::shutdown_send);
    } else {
      asio::post(one.strand, [&one] { one.sockets.near.cancel(); });
    }
  }
  // A cancellation may find the session between two operations.
  for (int index = 1; index < sessions; index += 2) {
    session& one = *all[static_cast<std::size_t>(index)];
    asio::post(one.strand, [&one] { one.sockets.near.close(); });
  }
  for (std::thread& each : threads) each.join();
  for (const auto& each : all) EXPECT_TRUE(each->ended);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
