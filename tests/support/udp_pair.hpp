// SPDX-License-Identifier: MIT
// Two UDP sockets on loopback that know each other's address.
// Threads: one, or as their io_context.
// Lifetime: the context must outlive the pair.
#pragma once

#include <poll.h>
#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace slabbuf::support {

template <class Executor>
struct basic_udp_pair {
  using socket = asio::basic_datagram_socket<asio::ip::udp, Executor>;

  explicit basic_udp_pair(asio::io_context& context,
                          const asio::ip::address& address = asio::ip::address_v4::loopback())
      : near(context, asio::ip::udp::endpoint(address, 0)), far(context, asio::ip::udp::endpoint(address, 0)) {}

  /// From the peer to the side under test.
  void send(std::string_view text) { far.send_to(asio::buffer(text), near.local_endpoint()); }

  /// The next datagram the peer has got; waits for it. Throws std::runtime_error when none comes.
  std::string receive() {
    ::pollfd readable{far.native_handle(), POLLIN, 0};
    if (::poll(&readable, 1, 60'000) != 1) throw std::runtime_error("no datagram came");
    std::string text(std::size_t{1} << 16, '\0');
    asio::ip::udp::endpoint from;
    text.resize(far.receive_from(asio::buffer(text), from));
    return text;
  }

  socket near;  // the side under test
  socket far;   // its peer
};

using udp_pair = basic_udp_pair<asio::io_context::executor_type>;

}  // namespace slabbuf::support
