// SPDX-License-Identifier: MIT
// The client's end of a connection, and simple exchanges on it that give up at a deadline.
// Threads: the one that runs the io_context; raise_open_files() before any are started.
// Lifetime: the io_context outlives its sockets.
#pragma once

#include "load/random_stream.hpp"

#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>

namespace slabbuf::bench {

/// With the concrete executor: no type-erased calls on the way to a handler.
using client_socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
using deadline = std::chrono::steady_clock::time_point;

/// Most connections one source address is used for. Linux hands out 28,232 ports to it by default.
inline constexpr std::size_t connections_per_address_max = 28'000;

/// Raises the soft limit of open files to the hard one. Throws std::runtime_error, naming the limit, when
/// even that is not enough for `connections`.
void raise_open_files(std::size_t connections);

/// Opens the socket of connection number `index` without connecting it. From connections_per_address_max
/// on, connections to 127.0.0.0/8 leave from 127.0.0.2, 127.0.0.3 and so on, each with ports of its own.
/// Throws asio::system_error.
void open_client(client_socket& socket, const asio::ip::tcp::endpoint& target, std::size_t index);

/// An open and connected socket. Throws std::runtime_error with the reason, also when `until` has passed.
client_socket connect_client(asio::io_context& io, const asio::ip::tcp::endpoint& target, std::size_t index,
                             deadline until);

/// Sends `bytes` bytes of the stream. Throws as connect_client() does; `index` is for the message.
void send_all(client_socket& socket, const random_stream& stream, std::size_t bytes, std::size_t index, deadline until);

/// Sends `bytes` bytes of the stream and checks that they, and nothing else, come back. Throws likewise.
void echo_once(client_socket& socket, const random_stream& stream, std::size_t bytes, std::size_t index,
               deadline until);

}  // namespace slabbuf::bench
