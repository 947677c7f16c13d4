// SPDX-License-Identifier: MIT
// What the operations on plain sockets take for one.
// Threads: none.
// Lifetime: none.
#pragma once

#include <asio/basic_stream_socket.hpp>

namespace slabbuf::net {

template <class Protocol>
class epoll_socket;

namespace detail {

template <class Protocol, class Executor>
void take_stream_socket(asio::basic_stream_socket<Protocol, Executor>&);
template <class Protocol>
void take_stream_socket(epoll_socket<Protocol>&);

/// Waits for readiness, and has a descriptor of the system's: a stream socket of Asio, what is derived from one, or an
/// epoll_socket.
template <class Socket>
concept stream_socket = requires(Socket& socket) {
  detail::take_stream_socket(socket);
};

}  // namespace detail
}  // namespace slabbuf::net
