// SPDX-License-Identifier: MIT
// A storm: 2,000 clients shake hands with one server at the same moment, on a budget for few. All are served; what it
// takes at most is bounded, and gone when they are.
#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/openssl_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

constexpr std::size_t connections = 2'000;
constexpr std::size_t budget = std::size_t{1} << 20;

// Before main() uses OpenSSL for anything.
concurrent_pool& openssl_pool = net::install_openssl_allocator();

using stream = support::pool_tls_stream;

// Shakes hands, sends back what comes until the peer goes.
struct server_side {
  server_side(support::tls_socket&& socket, asio::ssl::context& context, concurrent_pool& from)
      : connection(std::move(socket), context, from), pool(from) {}
  void start() {
    connection.async_handshake(stream::server, [this](asio::error_code ec) {
      if (!ec) read();
    });
  }
  void read() {
    net::async_read_some(connection, pool, [this](asio::error_code ec, buffer bytes) {
      if (ec == asio::error::no_buffer_space) return wait_for_budget();
      if (!ec) write(std::move(bytes));
    });
  }
  void wait_for_budget() {
    net::async_acquire(pool, net::read_bytes_default,
                       asio::bind_executor(connection.get_executor(), [this](asio::error_code ec, buffer granted) {
                         if (!ec) read_into(std::move(granted));
                       }));
  }
  void read_into(buffer granted) {
    granted.clear_on_release();
    const std::span<std::byte> room = granted.prepare();
    connection.async_read_some(asio::buffer(room.data(), room.size()),
                               [this, granted = std::move(granted)](asio::error_code ec, std::size_t count) mutable {
                                 granted.commit(count);
                                 if (!ec) write(std::move(granted));
                               });
  }
  void write(buffer bytes) {
    net::async_write(connection, std::move(bytes), [this](asio::error_code ec, std::size_t) {
      if (!ec) read();
    });
  }
  stream connection;
  concurrent_pool& pool;
};

// Shakes hands, sends a message, waits until it is back, stays.
struct client_side {
  client_side(support::tls_socket&& socket, asio::ssl::context& context, concurrent_pool& from, std::size_t& count)
      : connection(std::move(socket), context, from), served(count) {}
  void start() {
    connection.async_handshake(stream::client, [this](asio::error_code ec) {
      ASSERT_FALSE(ec) << ec.message();
      asio::async_write(connection, asio::buffer(message), [this](asio::error_code failed, std::size_t) {
        ASSERT_FALSE(failed) << failed.message();
        asio::async_read(connection, asio::buffer(answer), [this](asio::error_code broken, std::size_t) {
          ASSERT_FALSE(broken) << broken.message();
          if (answer == message) ++served;
        });
      });
    });
  }
  stream connection;
  std::size_t& served;
  std::string message = "a message that comes back";
  std::string answer = std::string(message.size(), '\0');
};

void raise_descriptor_limit() {
  ::rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(TlsHandshakeStress, AStormIsServedAndLeavesNothing) {
  raise_descriptor_limit();
  concurrent_pool tight({.budget_bytes_max = budget});
  concurrent_pool of_clients;
  asio::io_context io;
  support::tls_contexts contexts;
  ASSERT_TRUE(net::prepare_for_small_connections(contexts.server.native_handle()));
  {
    support::tls_pair warm_up(io, contexts, of_clients);  // what OpenSSL allocates once
    ASSERT_FALSE(warm_up.shake_hands().first);
  }
  const std::uint64_t before = openssl_pool.stats().in_use_bytes;
  {
    std::size_t served = 0;
    std::vector<std::unique_ptr<server_side>> servers;
    std::vector<std::unique_ptr<client_side>> clients;
    for (std::size_t index = 0; index < connections; ++index) {
      support::loopback_pair sockets(io);
      servers.push_back(std::make_unique<server_side>(std::move(sockets.near), contexts.server, tight));
      clients.push_back(std::make_unique<client_side>(std::move(sockets.far), contexts.client, of_clients, served));
    }
    for (const auto& each : clients) each->start();
    for (const auto& each : servers) each->start();
    while (served < connections) ASSERT_NE(io.run_one(), 0U);

    EXPECT_LE(tight.stats().bytes_high_water, budget);
    EXPECT_EQ(tight.stats().in_use, 0U);
    // Of both sides, and OpenSSL's clients keep the server's certificate and, after a ticket, 16 KiB for messages.
    const std::uint64_t most = openssl_pool.stats().bytes_high_water / connections;
    const std::uint64_t idle = (openssl_pool.stats().in_use_bytes - before) / connections;
    RecordProperty("most_bytes", std::to_string(most));
    RecordProperty("idle_bytes", std::to_string(idle));
    EXPECT_LT(most, 96U << 10);
    EXPECT_LT(idle, 56U << 10);
    for (const auto& each : clients) each->connection.next_layer().close();
    io.run();
  }
  EXPECT_EQ(openssl_pool.stats().in_use_bytes, before);
  EXPECT_EQ(tight.stats().in_use, 0U);
  EXPECT_EQ(of_clients.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
