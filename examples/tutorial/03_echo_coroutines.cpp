// SPDX-License-Identifier: MIT
// 3: the same with coroutines, on a pool that any number of threads may use.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio.hpp>

#include <cstdio>
#include <string>

using asio::ip::tcp;

asio::awaitable<void> echo(tcp::socket socket, slabbuf::concurrent_pool& pool) try {
  for (;;) {
    slabbuf::buffer bytes = co_await slabbuf::net::async_read_some(socket, pool, asio::use_awaitable);
    co_await slabbuf::net::async_write(socket, std::move(bytes), asio::use_awaitable);
  }
} catch (const std::system_error& end) {
  std::printf("the session ends: %s\n", end.code().message().c_str());
}

asio::awaitable<void> talk(tcp::endpoint server) {
  tcp::socket socket(co_await asio::this_coro::executor);
  co_await socket.async_connect(server, asio::use_awaitable);
  for (const std::string word : {"one", "two", "three"}) {
    co_await asio::async_write(socket, asio::buffer(word), asio::use_awaitable);
    std::string reply(word.size(), '\0');
    co_await asio::async_read(socket, asio::buffer(reply), asio::use_awaitable);
    std::printf("%s -> %s\n", word.c_str(), reply.c_str());
  }
}

int main() {
  slabbuf::concurrent_pool pool({.budget_bytes_max = 64 << 20});
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  acceptor.async_accept([&](asio::error_code ec, tcp::socket peer) {
    if (!ec) asio::co_spawn(context, echo(std::move(peer), pool), asio::detached);
  });
  asio::co_spawn(context, talk(acceptor.local_endpoint()), asio::detached);
  context.run();
  return pool.stats().acquired != 0 && pool.stats().in_use == 0 ? 0 : 1;
}
