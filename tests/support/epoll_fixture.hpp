// SPDX-License-Identifier: MIT
// What tests of epoll_sockets have in common.
// Threads: one.
// Lifetime: a test's.
#pragma once

#include <slabbuf/net/epoll_socket.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <optional>

#include "support/loopback_pair.hpp"

namespace slabbuf::support {

using tcp_epoll_socket = net::epoll_socket<asio::ip::tcp>;

class epoll_fixture : public ::testing::Test {
 protected:
  using pair = epoll_loopback_pair;

  static auto store(std::optional<asio::error_code>& into) {
    return [&into](asio::error_code ec) { into = ec; };
  }
  // Until there is nothing more to do.
  void run() {
    context.restart();
    context.run();
  }

  asio::io_context context;
};

}  // namespace slabbuf::support
