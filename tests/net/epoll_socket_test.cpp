// SPDX-License-Identifier: MIT
// What an epoll_socket is by itself. The operations of the library are tested on it where they are tested on Asio's
// sockets: async_read_some_test.cpp, async_write_test.cpp, net_test.cpp.
#include <slabbuf/net/epoll_socket.hpp>

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/async_read_until.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/send_file.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <linux/net_tstamp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/strand.hpp>
#include <asio/streambuf.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/loopback_pair.hpp"

namespace {

// What is asked of the system, and an error in place of an answer.
std::atomic<int> epoll_ctl_calls{0};
std::atomic<int> epoll_wait_calls{0};
thread_local int epoll_ctl_error = 0;

}  // namespace

extern "C" int epoll_ctl(int set, int action, int descriptor, ::epoll_event* event) noexcept {
  static auto* const real = reinterpret_cast<int (*)(int, int, int, ::epoll_event*)>(::dlsym(RTLD_NEXT, "epoll_ctl"));
  ++epoll_ctl_calls;
  if (epoll_ctl_error != 0) {
    errno = epoll_ctl_error;
    return -1;
  }
  return real(set, action, descriptor, event);
}

extern "C" int epoll_wait(int set, ::epoll_event* events, int count, int timeout) {
  static auto* const real = reinterpret_cast<int (*)(int, ::epoll_event*, int, int)>(::dlsym(RTLD_NEXT, "epoll_wait"));
  ++epoll_wait_calls;
  return real(set, events, count, timeout);
}

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using tcp_epoll_socket = net::epoll_socket<tcp>;
using support::epoll_loopback_pair;

class EpollSocket : public ::testing::Test {
 protected:
  using pair = epoll_loopback_pair;

  auto store(std::optional<asio::error_code>& into) {
    return [&into](asio::error_code ec) { into = ec; };
  }
  // Until there is nothing more to do.
  void run() {
    context.restart();
    context.run();
  }

  asio::io_context context;
};

TEST_F(EpollSocket, TakesOverAConnectedSocketWithItsOptions) {
  support::asio_loopback_pair sockets(context);
  const auto far_endpoint = sockets.far.local_endpoint();
  const auto near_endpoint = sockets.near.local_endpoint();
  const int descriptor = sockets.near.native_handle();
  net::epoll_socket taken(context, std::move(sockets.near));
  EXPECT_FALSE(sockets.near.is_open());
  EXPECT_TRUE(taken.is_open());
  EXPECT_TRUE(taken.non_blocking());
  EXPECT_EQ(taken.native_handle(), descriptor);
  EXPECT_EQ(taken.remote_endpoint(), far_endpoint);
  EXPECT_EQ(taken.local_endpoint(), near_endpoint);
  EXPECT_EQ(&taken.lowest_layer(), &taken);
  tcp::no_delay no_delay;
  taken.get_option(no_delay);
  EXPECT_TRUE(no_delay.value());
  taken.set_option(tcp::no_delay(false));
  taken.get_option(no_delay);
  EXPECT_FALSE(no_delay.value());
  EXPECT_EQ(taken.get_executor(), context.get_executor());
}

TEST_F(EpollSocket, MovesWhileNothingIsUnderWay) {
  pair one(context);
  pair other(context);
  const int descriptor = one.near.native_handle();
  tcp_epoll_socket moved(std::move(one.near));
  EXPECT_FALSE(one.near.is_open());
  other.near = std::move(moved);
  EXPECT_EQ(other.near.native_handle(), descriptor);
  std::array<char, 1> byte;
  asio::error_code ec;
  EXPECT_EQ(asio::read(other.far, asio::buffer(byte), ec), 0U) << "what was assigned to has been closed";
  EXPECT_EQ(ec, asio::error::eof);
  asio::write(one.far, asio::buffer("x", 1));
  std::optional<asio::error_code> waited;
  other.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  run();
  EXPECT_EQ(waited, asio::error_code());
  EXPECT_EQ(other.near.read_some(asio::buffer(byte)), 1U);
}

TEST_F(EpollSocket, SaysWhatIsWrongWithAClosedOne) {
  tcp_epoll_socket closed(context);
  asio::error_code ec;
  closed.close(ec);
  EXPECT_FALSE(ec);
  closed.cancel(ec);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_THROW(closed.cancel(), std::system_error);
  EXPECT_THROW(closed.shutdown(tcp_epoll_socket::shutdown_both), std::system_error);
  EXPECT_THROW(static_cast<void>(closed.local_endpoint()), std::system_error);
  EXPECT_THROW(static_cast<void>(closed.remote_endpoint()), std::system_error);
  EXPECT_THROW(closed.set_option(tcp::no_delay(true)), std::system_error);
  tcp::no_delay option;
  EXPECT_THROW(closed.get_option(option), std::system_error);
  char byte = 0;
  EXPECT_THROW(closed.read_some(asio::buffer(&byte, 1)), std::system_error);
  EXPECT_THROW(closed.write_some(asio::buffer(&byte, 1)), std::system_error);
  std::optional<asio::error_code> waited, read, written;
  closed.async_wait(tcp_epoll_socket::wait_read, store(waited));
  closed.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code error, std::size_t) { read = error; });
  closed.async_write_some(asio::buffer(&byte, 1), [&](asio::error_code error, std::size_t) { written = error; });
  EXPECT_FALSE(waited || read || written) << "within the call";
  run();
  EXPECT_EQ(waited, asio::error::bad_descriptor);
  EXPECT_EQ(read, asio::error::bad_descriptor);
  EXPECT_EQ(written, asio::error::bad_descriptor);
}

TEST_F(EpollSocket, NeverBlocks) {
  pair sockets(context);
  std::array<char, 64> bytes{};
  asio::error_code ec;
  EXPECT_EQ(sockets.near.read_some(asio::buffer(bytes), ec), 0U);
  EXPECT_EQ(ec, asio::error::would_block);
  EXPECT_EQ(sockets.near.read_some(asio::mutable_buffer(), ec), 0U);
  EXPECT_FALSE(ec);
  const std::string much(std::size_t{32} << 20, 'x');
  EXPECT_LT(sockets.near.write_some(asio::buffer(much)), much.size());
  while (!ec) sockets.near.write_some(asio::buffer(much), ec);
  EXPECT_EQ(ec, asio::error::would_block);
}

TEST_F(EpollSocket, WaitsForWhatIsThereAlreadyAndForWhatComes) {
  pair sockets(context);
  std::optional<asio::error_code> readable, writable, unsupported;
  asio::write(sockets.far, asio::buffer("x", 1));
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(readable));
  sockets.near.async_wait(tcp_epoll_socket::wait_write, store(writable));
  sockets.near.async_wait(tcp_epoll_socket::wait_error, store(unsupported));
  EXPECT_FALSE(readable || writable || unsupported) << "within the call";
  run();
  EXPECT_EQ(readable, asio::error_code());
  EXPECT_EQ(writable, asio::error_code());
  EXPECT_EQ(unsupported, asio::error::operation_not_supported);

  char byte = 0;
  sockets.near.read_some(asio::buffer(&byte, 1));
  readable.reset();
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(readable));
  context.restart();
  context.poll();
  EXPECT_FALSE(readable);
  asio::write(sockets.far, asio::buffer("y", 1));
  run();
  EXPECT_EQ(readable, asio::error_code());
}

TEST_F(EpollSocket, SeveralMayWaitForTheSame) {
  pair sockets(context);
  std::array<std::optional<asio::error_code>, 3> waited;
  for (auto& each : waited) sockets.near.async_wait(tcp_epoll_socket::wait_read, store(each));
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  for (const auto& each : waited) EXPECT_EQ(each, asio::error_code());
}

// The system is asked once for a connection, and what Asio does is shared by all that are ready.
TEST_F(EpollSocket, AsksTheSystemOnceForAConnectionNotForAWait) {
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
  const int before = epoll_ctl_calls;
  for (int round = 1; round <= rounds; ++round) {
    for (const auto& each : pairs) asio::write(each->far, asio::buffer("x", 1));
    while (waits < round * connections) context.run_one();
  }
  // A round is a turn nearly always; the kernel may deliver in two.
  EXPECT_LE(epoll_ctl_calls - before, rounds * 4);
  for (const auto& each : pairs) each->near.close();
  context.run();
}

TEST_F(EpollSocket, BytesThatNobodyWaitsForKeepNobodyBusy) {
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
  const int before = epoll_wait_calls;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(epoll_wait_calls - before, 100) << "Asio's own";
  // Somebody waits again.
  waited.reset();
  busy.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  while (!waited) context.run_one();
  // A peer that has gone altogether is a level that cannot be masked.
  busy.reset_far();
  while (context.poll() != 0) {
  }
  const int after_reset = epoll_wait_calls;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(epoll_wait_calls - after_reset, 100);
}

TEST_F(EpollSocket, RunReturnsWhenNobodyWaits) {
  pair sockets(context);
  run();
  std::optional<asio::error_code> waited;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  context.restart();
  EXPECT_EQ(context.poll(), 0U);
  EXPECT_FALSE(context.stopped()) << "a wait is work";
  sockets.near.cancel();
  EXPECT_FALSE(waited) << "within the call";
  context.run();
  EXPECT_EQ(waited, asio::error::operation_aborted);
}

TEST_F(EpollSocket, IsCancelledByCancelCloseReleaseDestructionAndSlot) {
  const std::vector<std::function<void(std::optional<pair>&, asio::cancellation_signal&)>> ways{
      [](std::optional<pair>& sockets, asio::cancellation_signal&) { sockets->near.cancel(); },
      [](std::optional<pair>& sockets, asio::cancellation_signal&) { sockets->near.close(); },
      [](std::optional<pair>& sockets, asio::cancellation_signal&) { ::close(sockets->near.release()); },
      [](std::optional<pair>& sockets, asio::cancellation_signal&) { sockets.reset(); },
      [](std::optional<pair>&, asio::cancellation_signal& signal) { signal.emit(asio::cancellation_type::total); },
  };
  for (std::size_t way = 0; way < ways.size(); ++way) {
    SCOPED_TRACE(way);
    std::optional<pair> sockets(context);
    std::optional<asio::error_code> waited;
    asio::cancellation_signal signal;
    sockets->near.async_wait(tcp_epoll_socket::wait_read, asio::bind_cancellation_slot(signal.slot(), store(waited)));
    context.restart();
    context.poll();
    ways[way](sockets, signal);
    EXPECT_FALSE(waited) << "within the call";
    run();
    EXPECT_EQ(waited, asio::error::operation_aborted);
  }
}

TEST_F(EpollSocket, ACancellationReachesItsOwnWaitOnly) {
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

TEST_F(EpollSocket, SaysWhenTheSystemWatchesNoMore) {
  pair sockets(context);
  std::optional<asio::error_code> waited;
  epoll_ctl_error = ENOSPC;
  sockets.near.async_wait(tcp_epoll_socket::wait_read, store(waited));
  epoll_ctl_error = 0;
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

TEST_F(EpollSocket, AHandlerThatThrowsTakesNobodyElseAlong) {
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

TEST_F(EpollSocket, AHandlerMayCloseTheOthersOfItsTurn) {
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

// What a turn has found ready may be cancelled, or lose its socket, before it is called.
TEST_F(EpollSocket, ACancellationReachesWaitsThatHaveBeenFoundReady) {
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

TEST_F(EpollSocket, AHandlerMayDestroyTheOthersOfItsTurn) {
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

TEST_F(EpollSocket, MoreMayBeReadyThanATurnTakes) {
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

TEST_F(EpollSocket, AChainOfCancellationsKeepsNobodyWaiting) {
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

// A message in the error queue is a level that reading does not take away.
TEST_F(EpollSocket, AnErrorQueueKeepsNobodyBusy) {
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
  const int before = epoll_wait_calls;
  for (int count = 0; count < 100; ++count) context.poll();
  EXPECT_LE(epoll_wait_calls - before, 100) << "Asio's own";
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

TEST_F(EpollSocket, HandlersRunWhereTheyAreBound) {
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

TEST_F(EpollSocket, CompletesAFuture) {
  pair sockets(context);
  std::future<void> waited = sockets.near.async_wait(tcp_epoll_socket::wait_read, asio::use_future);
  asio::write(sockets.far, asio::buffer("x", 1));
  run();
  waited.get();
}

// A handler too large for the room of its descriptor, with an allocator of its own.
TEST_F(EpollSocket, TakesALargeHandlersMemoryFromItsAllocator) {
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

// asio::async_read and the rest, with sequences of no buffer, of empty ones, and of more than one call takes.
TEST_F(EpollSocket, IsAStreamOfAsios) {
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{65}, std::size_t{1000}}) {
    SCOPED_TRACE(count);
    pair sockets(context);
    std::string sent(count * 1000, '\0');
    for (std::size_t index = 0; index < sent.size(); ++index) sent[index] = static_cast<char>(index * 7 % 251);
    std::string received(sent.size(), '\0');
    std::string back(sent.size(), '\0');
    std::vector<asio::const_buffer> out;
    std::vector<asio::mutable_buffer> in;
    for (std::size_t index = 0; index < count; ++index) {
      out.emplace_back(sent.data() + index * 1000, 1000);
      out.emplace_back();
      in.emplace_back(received.data() + index * 1000, 1000);
      in.emplace_back();
    }
    int ended = 0;
    asio::async_read(sockets.near, in, [&](asio::error_code ec, std::size_t bytes) {
      EXPECT_FALSE(ec);
      EXPECT_EQ(bytes, sent.size());
      ++ended;
      asio::async_write(sockets.near, out, [&](asio::error_code error, std::size_t written) {
        EXPECT_FALSE(error);
        EXPECT_EQ(written, sent.size());
        ++ended;
      });
    });
    EXPECT_EQ(ended, 0) << "within the call";
    asio::async_write(sockets.far, asio::buffer(sent), [](asio::error_code, std::size_t) {});
    asio::async_read(sockets.far, asio::buffer(back), [&](asio::error_code ec, std::size_t) {
      EXPECT_FALSE(ec);
      ++ended;
    });
    run();
    EXPECT_EQ(ended, 3);
    EXPECT_EQ(received, sent);
    EXPECT_EQ(back, sent);
  }
}

TEST_F(EpollSocket, ReadsLinesAndReportsTheEnd) {
  pair sockets(context);
  asio::streambuf line;
  asio::write(sockets.far, asio::buffer(std::string_view("one\ntwo")));
  sockets.far.shutdown(tcp::socket::shutdown_send);
  std::size_t length = 0;
  asio::async_read_until(sockets.near, line, '\n', [&](asio::error_code ec, std::size_t found) {
    EXPECT_FALSE(ec);
    length = found;
  });
  run();
  EXPECT_EQ(length, 4U);
  line.consume(length);
  std::optional<asio::error_code> ended;
  asio::async_read_until(sockets.near, line, '\n', [&](asio::error_code ec, std::size_t) { ended = ec; });
  run();
  EXPECT_EQ(ended, asio::error::eof);
}

TEST_F(EpollSocket, ReportsAReset) {
  pair sockets(context);
  std::optional<asio::error_code> read;
  char byte = 0;
  sockets.near.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { read = ec; });
  context.poll();
  sockets.reset_far();
  run();
  EXPECT_EQ(read, asio::error::connection_reset);
  std::optional<asio::error_code> written;
  sockets.near.async_write_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { written = ec; });
  run();
  EXPECT_EQ(written, asio::error::broken_pipe) << "an error, no signal";
}

TEST_F(EpollSocket, IsThereForLocalSocketsToo) {
  asio::local::stream_protocol::socket near(context);
  asio::local::stream_protocol::socket far(context);
  asio::local::connect_pair(near, far);
  net::epoll_socket taken(context, std::move(near));
  asio::write(far, asio::buffer("x", 1));
  char byte = 0;
  std::optional<asio::error_code> read;
  taken.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { read = ec; });
  run();
  EXPECT_EQ(read, asio::error_code());
  EXPECT_EQ(byte, 'x');
}

// Sessions that their handlers own, and which own their sockets.
TEST(EpollSocketLifetime, WaitsThatDieWithTheirContextAreDestroyed) {
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

TEST(EpollSocketLifetime, AChildHasASetOfItsOwn) {
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
TEST(EpollSocketThreads, EverySessionEndsAndGetsItsBytes) {
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

// Handlers of two strands run side by side: here the first waits for the second.
TEST(EpollSocketThreads, StrandsRunSideBySide) {
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
TEST(EpollSocketThreads, SlotsAreEmittedWhileOthersTakeTurns) {
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
