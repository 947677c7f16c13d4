// SPDX-License-Identifier: MIT
// Both ends of TCP connections in one process: the server's for the program that is measured, the client's in
// bare blocking calls.
// Threads: as the io_context.
// Lifetime: the io_context must live as long as both ends.
#pragma once

#include <sys/resource.h>
#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

namespace slabbuf::bench {

using tcp = asio::ip::tcp;
using server_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;

struct connection {
  server_socket server;
  tcp::socket client;
};

/// So many connections, with nothing on their way. Throws what Asio throws.
inline std::vector<connection> connect(asio::io_context& context, std::size_t count) {
  tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::vector<connection> made;
  made.reserve(count);
  for (std::size_t index = 0; index < count; ++index) {
    tcp::socket client(context);
    client.connect(acceptor.local_endpoint());
    // Thousands of them, closed by the server, would stay in TIME_WAIT and take the next run's ports.
    client.set_option(asio::socket_base::linger(true, 0));
    server_socket server(context);
    acceptor.accept(server);
    server.set_option(tcp::no_delay(true));
    client.set_option(tcp::no_delay(true));
    made.push_back({std::move(server), std::move(client)});
  }
  return made;
}

/// Lets the process open so many descriptors. Throws std::runtime_error when the system does not.
inline void allow_descriptors(std::size_t count) {
  ::rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= count) return;
  limit.rlim_cur = count;
  if (limit.rlim_max < count || ::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    throw std::runtime_error("too few descriptors are allowed");
}

}  // namespace slabbuf::bench
