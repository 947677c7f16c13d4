// SPDX-License-Identifier: MIT
// One message through both libraries.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <cstdio>
#include <cstring>

int main() {
  slabbuf::concurrent_pool pool;
  asio::io_context context;
  asio::ip::tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  asio::ip::tcp::socket client(context);
  client.connect(acceptor.local_endpoint());
  asio::ip::tcp::socket server = acceptor.accept();

  slabbuf::buffer message = pool.acquire(5);
  std::memcpy(message.data(), "hello", 5);
  slabbuf::net::async_write(client, std::move(message), [](asio::error_code, std::size_t) {});
  std::size_t received = 0;
  slabbuf::net::async_read_some(server, pool, slabbuf::net::bind_pool(pool, [&](asio::error_code, slabbuf::buffer got) {
                                  received = got.size();
                                }));
  context.run();
  std::printf("slabbuf %s: %zu bytes received\n", SLABBUF_VERSION_STRING, received);
  return received == 5 ? 0 : 1;
}
