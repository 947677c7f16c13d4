// SPDX-License-Identifier: MIT
// Which types the operations take for plain sockets, and what they work with. Known when this compiles.
#include <slabbuf/net/detail/stream_socket.hpp>

#include <slabbuf/net/epoll_socket.hpp>

#include <gtest/gtest.h>
#include <asio/buffered_read_stream.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>
#include <asio/local/stream_protocol.hpp>

#include <type_traits>

namespace slabbuf::net::detail {
namespace {

using tcp = asio::ip::tcp;
using concrete_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

// What somebody's class does with waits of its own is not asked.
struct derived_socket : tcp::socket {
  using tcp::socket::socket;
  void async_wait() = delete;
};

TEST(StreamSocket, IsAsiosOrDerivedFromItOrAnEpollSocket) {
  EXPECT_TRUE(stream_socket<tcp::socket>);
  EXPECT_TRUE(stream_socket<concrete_socket>);
  EXPECT_TRUE(stream_socket<asio::local::stream_protocol::socket>);
  EXPECT_TRUE(stream_socket<derived_socket>);
  EXPECT_TRUE(stream_socket<epoll_socket<tcp>>);
  EXPECT_FALSE(stream_socket<asio::ip::udp::socket>);
  EXPECT_FALSE(stream_socket<asio::buffered_read_stream<tcp::socket>>);
  EXPECT_FALSE(stream_socket<int>);
}

TEST(StreamSocket, OfADerivedClassTheOperationsWorkWithAsios) {
  EXPECT_TRUE((std::is_same_v<plain_socket_t<derived_socket>, tcp::socket>));
  EXPECT_TRUE((std::is_same_v<plain_socket_t<concrete_socket>, concrete_socket>));
  EXPECT_TRUE((std::is_same_v<plain_socket_t<epoll_socket<tcp>>, epoll_socket<tcp>>));
}

}  // namespace
}  // namespace slabbuf::net::detail
