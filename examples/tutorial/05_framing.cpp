// SPDX-License-Identifier: MIT
// 5: lines without copying. What comes is kept in the blocks it came in; a line is split off, wherever in them it
// ends, and goes back as it is.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio.hpp>

#include <cstdio>
#include <memory>
#include <string>

namespace net = slabbuf::net;
using asio::ip::tcp;

// Sends every line back behind a number that is sent in the same system call.
struct session : std::enable_shared_from_this<session> {
  session(tcp::socket accepted, slabbuf::local_pool& from) : socket(std::move(accepted)), pool(from) {}

  void read() {
    net::async_read_until(socket, received, pool, "\n",
                          [self = shared_from_this()](asio::error_code ec, std::size_t line_bytes) {
                            if (!ec) self->answer(self->received.split(line_bytes));
                          });
  }
  void answer(slabbuf::buffer_chain line) {
    const std::string number = std::to_string(++lines) + ": ";
    slabbuf::buffer_chain reply;
    reply.append_copy(pool, std::as_bytes(std::span(number)));
    reply.append(std::move(line));
    net::async_write(socket, std::move(reply), [self = shared_from_this()](asio::error_code ec, std::size_t) {
      if (!ec) self->read();
    });
  }

  tcp::socket socket;
  slabbuf::local_pool& pool;
  slabbuf::buffer_chain received;
  int lines = 0;
};

int main() {
  slabbuf::local_pool pool;
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  acceptor.async_accept([&](asio::error_code ec, tcp::socket peer) {
    if (!ec) std::make_shared<session>(std::move(peer), pool)->read();
  });
  tcp::socket client(context);
  client.connect(acceptor.local_endpoint());
  asio::write(client, asio::buffer(std::string("one\ntwo\nthree\n")));
  std::string replies;
  asio::async_read_until(client, asio::dynamic_buffer(replies), "three\n",
                         [&](asio::error_code, std::size_t) { client.close(); });
  context.run();
  std::fputs(replies.c_str(), stdout);
  return replies == "1: one\n2: two\n3: three\n" && pool.stats().in_use == 0 ? 0 : 1;
}
