// SPDX-License-Identifier: MIT
// The echo server from within: what its pool says while clients keep it busy.
#include "echo/echo_service.hpp"

#include "examples/echo_server_fixture.hpp"

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf::examples {
namespace {

using asio::ip::tcp;

// Sends `text` again and again until `may_read`, as much as the system and the server take; then reads all of it back.
void expect_late_echo(const tcp::endpoint& server, const std::string& text, const std::shared_future<void>& may_read) {
  asio::io_context context;
  tcp::socket client(context);
  client.connect(server);
  std::uint64_t sent_bytes = 0;
  std::thread sender([&] {
    asio::error_code ec;
    do sent_bytes += asio::write(client, asio::buffer(text), ec);
    while (!ec && may_read.wait_for(std::chrono::seconds(0)) != std::future_status::ready);
    client.shutdown(tcp::socket::shutdown_send, ec);
  });
  may_read.wait();
  std::string answer(text.size(), '\0');
  std::uint64_t received_bytes = 0;
  bool is_same = true;
  asio::error_code ec;
  while (!ec) {
    const std::size_t count = asio::read(client, asio::buffer(answer), ec);
    is_same = is_same && answer.compare(0, count, text, 0, count) == 0;
    received_bytes += count;
  }
  sender.join();
  EXPECT_EQ(ec, asio::error::eof);
  EXPECT_TRUE(is_same);
  EXPECT_EQ(received_bytes, sent_bytes);
}

// Clients that do not take their answers hold blocks until nothing is left: whoever has bytes then waits for its turn.
TEST(EchoService, ServesManyFromABudgetOfOneBlock) {
  constexpr std::size_t budget_bytes_max = 16 << 10;
  echo_options options;
  options.addresses.tcp.emplace(asio::ip::address_v4::loopback(), 0);
  options.threads = 2;
  options.budget_bytes_max = budget_bytes_max;
  echo_service service(options);
  service.start();
  std::thread server([&] { service.run(); });

  const std::string text = support::long_text(1 << 20);
  std::promise<void> spent;
  const std::shared_future<void> may_read = spent.get_future().share();
  std::vector<std::thread> clients;
  for (int index = 0; index < 20; ++index) {
    clients.emplace_back([&] { expect_late_echo(*service.addresses().tcp, text, may_read); });
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!service.buffers().has_waiters() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  EXPECT_TRUE(service.buffers().has_waiters());
  spent.set_value();
  for (std::thread& each : clients) each.join();
  service.drain();
  server.join();

  // Who waits gets a whole read's memory, which is all there is.
  EXPECT_EQ(service.buffers().stats().bytes_high_water, budget_bytes_max);
  EXPECT_EQ(service.buffers().stats().in_use, 0U);
  EXPECT_EQ(service.stats().received_bytes, service.stats().sent_bytes);
}

}  // namespace
}  // namespace slabbuf::examples
