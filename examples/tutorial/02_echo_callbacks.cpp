// SPDX-License-Identifier: MIT
// 2: an echo with callbacks. While the peer is silent no buffer is held; the one that is read is moved into
// the write, which gives it back when the socket has taken it.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio.hpp>

#include <cstdio>
#include <string>

using asio::ip::tcp;

// Owns itself: each handler keeps it alive until there is none left.
struct session : std::enable_shared_from_this<session> {
  session(tcp::socket accepted, slabbuf::local_pool& from) : socket(std::move(accepted)), pool(from) {}

  void read() {
    slabbuf::net::async_read_some(
        socket, pool,
        slabbuf::net::bind_pool(pool, [self = shared_from_this()](asio::error_code ec, slabbuf::buffer bytes) {
          if (!ec) self->write(std::move(bytes));
        }));
  }
  void write(slabbuf::buffer bytes) {
    slabbuf::net::async_write(
        socket, std::move(bytes),
        slabbuf::net::bind_pool(pool, [self = shared_from_this()](asio::error_code ec, std::size_t) {
          if (!ec) self->read();
        }));
  }

  tcp::socket socket;
  slabbuf::local_pool& pool;
};

int main() {
  slabbuf::local_pool pool;  // before the context: operations that never end give back what they have
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  acceptor.async_accept([&](asio::error_code ec, tcp::socket peer) {
    if (!ec) std::make_shared<session>(std::move(peer), pool)->read();
  });

  tcp::socket client(context);
  client.connect(acceptor.local_endpoint());
  asio::write(client, asio::buffer("hello", 5));
  std::string reply(5, '\0');
  asio::async_read(client, asio::buffer(reply), [&](asio::error_code, std::size_t) { client.close(); });
  context.run();  // until the server has seen the end
  std::printf("%s, %llu buffers in use\n", reply.c_str(), static_cast<unsigned long long>(pool.stats().in_use));
  return reply == "hello" && pool.stats().in_use == 0 ? 0 : 1;
}
