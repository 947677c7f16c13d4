#include <asio.hpp>
#include <cstdio>
#include <exception>
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>
asio::awaitable<void> echo(asio::ip::tcp::socket socket, slabbuf::concurrent_pool& pool) try {
  for (;;) {
    slabbuf::buffer bytes = co_await slabbuf::net::async_read_some(socket, pool, asio::use_awaitable);
    co_await slabbuf::net::async_write(socket, std::move(bytes), asio::use_awaitable);
  }
} catch (const std::system_error&) {}  // the peer has gone, or the budget has no room
int main() try {
  slabbuf::concurrent_pool pool({.budget_bytes_max = 64 << 20});  // before the context: it must live longer
  asio::io_context context;
  asio::ip::tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 7000});
  asio::co_spawn(context, [&]() -> asio::awaitable<void> {
    for (;;)  // ends with an exception when no descriptors are left
      asio::co_spawn(context, echo(co_await acceptor.async_accept(asio::use_awaitable), pool), asio::detached);
  }, [](std::exception_ptr error) { if (error) std::rethrow_exception(error); });
  context.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
