// SPDX-License-Identifier: MIT
// Two connected TCP sockets on loopback.
// Threads: one, or as their io_contexts.
// Lifetime: the contexts must outlive the pair.
#pragma once

#include <slabbuf/net/epoll_socket.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <utility>

namespace slabbuf::support {

template <class Executor>
struct basic_loopback_pair {
  using socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
  static constexpr unsigned blocks_per_wait = 1;  // of the handler's allocator

  explicit basic_loopback_pair(asio::io_context& context) : basic_loopback_pair(context, context) {}
  basic_loopback_pair(asio::io_context& near_context, asio::io_context& far_context)
      : near(near_context), far(far_context) {
    const asio::ip::tcp::endpoint any_port(asio::ip::address_v4::loopback(), 0);
    asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type> acceptor(near_context, any_port);
    far.connect(acceptor.local_endpoint());
    acceptor.accept(near);
    near.set_option(asio::ip::tcp::no_delay(true));
    far.set_option(asio::ip::tcp::no_delay(true));
  }

  /// Closes `far` so that `near` sees a reset.
  void reset_far() {
    far.set_option(asio::socket_base::linger(true, 0));
    far.close();
  }

  socket near;  // the side under test
  socket far;   // its peer
};

using asio_loopback_pair = basic_loopback_pair<asio::io_context::executor_type>;

/// The same with an epoll_socket under test.
struct epoll_loopback_pair {
  using socket = net::epoll_socket<asio::ip::tcp>;
  static constexpr unsigned blocks_per_wait = 0;  // a wait has room with the descriptor

  explicit epoll_loopback_pair(asio::io_context& context) : epoll_loopback_pair(context, context) {}
  epoll_loopback_pair(asio::io_context& near_context, asio::io_context& far_context)
      : epoll_loopback_pair(asio_loopback_pair(near_context, far_context)) {}
  explicit epoll_loopback_pair(asio_loopback_pair&& sockets)
      : near(std::move(sockets.near)), far(std::move(sockets.far)) {}

  void reset_far() {
    far.set_option(asio::socket_base::linger(true, 0));
    far.close();
  }

  socket near;
  asio_loopback_pair::socket far;
};

// Tests of operations run with both: a program of the same source files each.
#if defined(SLABBUF_TEST_EPOLL_SOCKET)
using loopback_pair = epoll_loopback_pair;
#else
using loopback_pair = asio_loopback_pair;
#endif

}  // namespace slabbuf::support
