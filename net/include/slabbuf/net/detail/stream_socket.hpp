// SPDX-License-Identifier: MIT
// What the operations on plain sockets take for one.
// Threads: none.
// Lifetime: none.
#pragma once

#include <asio/basic_stream_socket.hpp>

#include <type_traits>
#include <utility>

namespace slabbuf::net {

template <class Protocol>
class epoll_socket;

namespace detail {

template <class Protocol, class Executor>
asio::basic_stream_socket<Protocol, Executor>& plain_socket(asio::basic_stream_socket<Protocol, Executor>&);
template <class Protocol>
epoll_socket<Protocol>& plain_socket(epoll_socket<Protocol>&);

/// Waits for readiness, and has a descriptor of the system's: a stream socket of Asio, or what is derived from one, or
/// an epoll_socket.
template <class Socket>
concept stream_socket = requires(Socket& socket) {
  detail::plain_socket(socket);
};

/// What the operations work with: of a class that is derived from Asio's, Asio's.
template <stream_socket Socket>
using plain_socket_t = std::remove_reference_t<decltype(detail::plain_socket(std::declval<Socket&>()))>;

}  // namespace detail
}  // namespace slabbuf::net
