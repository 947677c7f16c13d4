// SPDX-License-Identifier: MIT
// What an epoll_socket is by itself. The operations of the library are tested on it where they are tested on Asio's
// sockets: async_read_some_test.cpp, async_write_test.cpp, net_test.cpp and others, in net_epoll_test.
#include <slabbuf/net/epoll_socket.hpp>

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/read_size.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/connect_pair.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/epoll_fixture.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using support::tcp_epoll_socket;

class EpollSocket : public support::epoll_fixture {};

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

class EpollSocketReads : public EpollSocket {
 protected:
  // The block of a read, of so many bytes more and what is unread.
  std::size_t block_bytes_of(std::size_t bytes, tcp_epoll_socket& from, concurrent_pool& blocks) {
    asio::write(sockets.far, asio::buffer(std::string(bytes, 'x')));
    unread_bytes += bytes;
    for (int there = 0; static_cast<std::size_t>(there) < unread_bytes; std::this_thread::yield()) {
      if (::ioctl(from.native_handle(), FIONREAD, &there) != 0) return 0;
    }
    std::size_t block_bytes = 0;
    net::async_read_some(from, blocks, [&](asio::error_code ec, const buffer& got) {
      EXPECT_FALSE(ec) << ec.message();
      block_bytes = got.capacity();
      unread_bytes -= got.size();
    });
    run();
    return block_bytes;
  }

  concurrent_pool pool;
  pair sockets{context};
  std::size_t unread_bytes = 0;
};

TEST_F(EpollSocketReads, LearnHowMuchThePeerSends) {
  EXPECT_EQ(block_bytes_of(2048 + 32768, sockets.near, pool), net::read_size::first_default);
  EXPECT_EQ(block_bytes_of(0, sockets.near, pool), 32768U) << "four steps, because the one before was full";
  tcp_epoll_socket moved(std::move(sockets.near));
  EXPECT_EQ(block_bytes_of(20'000, moved, pool), 65536U);
  EXPECT_EQ(block_bytes_of(20'000, moved, pool), 65536U) << "one small read may be chance";
  EXPECT_EQ(block_bytes_of(20'000, moved, pool), 32768U) << "two are a step";
  for (int reads = 0; reads < 16; ++reads) static_cast<void>(block_bytes_of(1, moved, pool));
  EXPECT_EQ(block_bytes_of(1, moved, pool), net::read_size::bytes_min_default);
  sockets.near = std::move(moved);
  EXPECT_EQ(block_bytes_of(1, sockets.near, pool), net::read_size::bytes_min_default);
}

TEST_F(EpollSocketReads, FewBytesBehindManyComeInABlockOfTheirSize) {
  EXPECT_EQ(block_bytes_of(2048 + 32768, sockets.near, pool), net::read_size::first_default);
  EXPECT_EQ(block_bytes_of(0, sockets.near, pool), 32768U);
  EXPECT_EQ(block_bytes_of(5, sockets.near, pool), 8U) << "of 64 KiB";
}

TEST_F(EpollSocketReads, LeaveThreeQuartersOfTheBudgetToOthers) {
  concurrent_pool tight({.budget_bytes_max = 32768, .cache_bytes_max = 0});
  EXPECT_EQ(block_bytes_of(60'000, sockets.near, tight), net::read_size::first_default);
  EXPECT_EQ(block_bytes_of(0, sockets.near, tight), 8192U);
  EXPECT_EQ(tight.stats().refused, 0U);
}

TEST_F(EpollSocketReads, LearnNothingFromABlockThatMemoryWasShortFor) {
  concurrent_pool tight({.budget_bytes_max = 4096, .cache_bytes_max = 0});
  buffer taken = tight.acquire(2048);
  buffer more = tight.acquire(1024);
  EXPECT_EQ(block_bytes_of(60'000, sockets.near, tight), 1024U);
  EXPECT_EQ(block_bytes_of(0, sockets.near, pool), net::read_size::first_default);
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

}  // namespace
}  // namespace slabbuf
