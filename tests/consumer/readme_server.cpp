#include <asio.hpp>
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>
using asio::ip::tcp;

asio::awaitable<void> echo(tcp::socket socket, slabbuf::concurrent_pool& pool) try {
  for (;;) {
    slabbuf::buffer bytes = co_await slabbuf::net::async_read_some(socket, pool, asio::use_awaitable);
    co_await slabbuf::net::async_write(socket, std::move(bytes), asio::use_awaitable);
  }
} catch (const std::system_error&) {}  // the peer has gone

int main() {
  slabbuf::concurrent_pool pool({.budget_bytes_max = 64 << 20});  // before the io_context: it must live longer
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 7000});
  std::function<void()> accept = [&] { acceptor.async_accept([&](asio::error_code, tcp::socket socket) {
    asio::co_spawn(context, echo(std::move(socket), pool), asio::detached); accept(); }); };
  accept();
  context.run();
}
