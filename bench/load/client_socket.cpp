// SPDX-License-Identifier: MIT
#include "load/client_socket.hpp"

#include "common/command_line.hpp"

#include <fmt/format.h>
#include <asio/basic_waitable_timer.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <netinet/in.h>
#include <sys/resource.h>

#include <optional>
#include <stdexcept>
#include <vector>

namespace slabbuf::bench {
namespace {

// Descriptors beside the connections': the standard ones, epoll, wake-ups and timers of each thread.
constexpr std::size_t open_files_reserved = 64 + 3 * 64;

// Runs the one operation that was started on `io` until it completes or the deadline passes. What it
// would write to must outlive the call, so a late operation is cancelled and waited for. By a timer:
// io_context::run_until() takes completions for others' on the io_uring backend of Asio before 1.28.1
// (chriskohlhoff/asio#1284).
template <class Start>
asio::error_code run_until(asio::io_context& io, client_socket& socket, deadline until, Start start) {
  std::optional<asio::error_code> result;
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                             asio::io_context::executor_type>
      timer(io.get_executor(), until);
  bool late = false;
  timer.async_wait([&](const asio::error_code& error) {
    late = !error && !result;
    if (late) socket.close();
  });
  start([&result, &timer](const asio::error_code& error, auto...) {
    result = error;
    timer.cancel();
  });
  io.restart();
  io.run();
  return late ? asio::error::timed_out : *result;
}

asio::io_context& context_of(client_socket& socket) { return socket.get_executor().context(); }

}  // namespace

void raise_open_files(std::size_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < connections + open_files_reserved) {
    throw std::runtime_error(fmt::format("{} connections need {} open files, the limit is {} (ulimit -Hn)", connections,
                                         connections + open_files_reserved, limit.rlim_cur));
  }
}

void open_client(client_socket& socket, const asio::ip::tcp::endpoint& target, std::size_t index) {
  socket.open(target.protocol());
  socket.set_option(asio::ip::tcp::no_delay(true));
  const std::size_t address_index = index / connections_per_address_max;
  if (address_index == 0 || !target.address().is_v4() || !target.address().is_loopback()) return;
#ifdef IP_BIND_ADDRESS_NO_PORT
  // The port is chosen by connect(), which may share it between targets; bind() may not.
  socket.set_option(asio::detail::socket_option::boolean<IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT>(true));
#endif
  const auto host = static_cast<std::uint32_t>(asio::ip::address_v4::loopback().to_uint() + address_index);
  socket.bind({asio::ip::address_v4(host), 0});
}

client_socket connect_client(asio::io_context& io, const asio::ip::tcp::endpoint& target, std::size_t index,
                             deadline until) {
  client_socket socket(io.get_executor());
  open_client(socket, target, index);
  const asio::error_code error =
      run_until(io, socket, until, [&](auto handler) { socket.async_connect(target, handler); });
  if (error) {
    throw std::runtime_error(fmt::format("connection {}: cannot connect to {}: {}", index,
                                         examples::format_endpoint(target), error.message()));
  }
  return socket;
}

void send_all(client_socket& socket, const random_stream& stream, std::size_t bytes, std::size_t index,
              deadline until) {
  std::vector<std::byte> sent(bytes);
  stream.fill(0, sent);
  const asio::error_code error = run_until(
      context_of(socket), socket, until, [&](auto handler) { asio::async_write(socket, asio::buffer(sent), handler); });
  if (error) throw std::runtime_error(fmt::format("connection {}: cannot send: {}", index, error.message()));
}

void echo_once(client_socket& socket, const random_stream& stream, std::size_t bytes, std::size_t index,
               deadline until) {
  send_all(socket, stream, bytes, index, until);
  std::vector<std::byte> got(bytes);
  std::size_t received = 0;
  const asio::error_code error = run_until(context_of(socket), socket, until, [&](auto handler) {
    asio::async_read(socket, asio::buffer(got),
                     [&received, handler](const asio::error_code& result, std::size_t count) {
                       received = count;
                       handler(result);
                     });
  });
  if (error) {
    throw std::runtime_error(
        fmt::format("connection {}: {} of {} bytes came back: {}", index, received, bytes, error.message()));
  }
  const std::size_t same = stream.first_difference(0, got);
  if (same != bytes) {
    throw std::runtime_error(fmt::format("connection {}: byte {} came back as {:#04x}, expected {:#04x}", index, same,
                                         std::to_integer<unsigned>(got[same]),
                                         std::to_integer<unsigned>(stream.at(same))));
  }
  if (socket.available() != 0) {
    throw std::runtime_error(fmt::format("connection {}: more came back than the {} bytes sent", index, bytes));
  }
}

}  // namespace slabbuf::bench
