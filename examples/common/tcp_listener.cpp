// SPDX-License-Identifier: MIT
#include "common/tcp_listener.hpp"

#include <slabbuf/net/handler_allocator.hpp>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

// A listening socket that is out of descriptors tries again this often, if no connection ends before.
constexpr auto accept_pause = 100ms;

// As many connections as the system queues before it refuses.
constexpr int backlog = asio::socket_base::max_listen_connections;

using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

bool is_shortage(const asio::error_code& ec) {
  return ec == asio::error::no_descriptors || ec == asio::error::no_buffer_space || ec == asio::error::no_memory ||
         ec == std::errc::too_many_files_open_in_system;
}

}  // namespace

void check_free(const asio::ip::tcp::endpoint& endpoint) {
  asio::io_context context;
  asio::ip::tcp::acceptor(context, endpoint, true);
}

void check_free(const asio::ip::udp::endpoint& endpoint) {
  asio::io_context context;
  asio::ip::udp::socket(context, endpoint);
}

tcp_listener::tcp_listener(asio::io_context& context, local_pool& handlers, action on_accepted)
    : handlers_(handlers), on_accepted_(std::move(on_accepted)), acceptor_(context), timer_(context) {}

asio::ip::tcp::endpoint tcp_listener::listen(const asio::ip::tcp::endpoint& endpoint) {
  acceptor_.open(endpoint.protocol());
  acceptor_.set_option(asio::socket_base::reuse_address(true));
  acceptor_.set_option(reuse_port(true));
  acceptor_.bind(endpoint);
  acceptor_.listen(backlog);
  return acceptor_.local_endpoint();
}

void tcp_listener::start() {
  if (acceptor_.is_open()) accept();
}

void tcp_listener::stop() noexcept {
  // Ends the accept that waits: closed where that has ended, or here. To close it while it waits is a cancellation,
  // which over io_uring can end an operation of somebody else (net/README.md, io_uring).
  if (std::exchange(stopped_, true)) return;
  asio::error_code ignored;
  if (acceptor_.is_open() && (!accepting_ || ::shutdown(acceptor_.native_handle(), SHUT_RDWR) != 0))
    acceptor_.close(ignored);
  timer_.cancel();
}

void tcp_listener::revive() {
  if (acceptor_.is_open() && !stopped_ && !accepting_ && !timing_) pause(asio::error::no_memory);
}

void tcp_listener::accept() {
  acceptor_.async_accept(
      net::bind_pool(handlers_, [this](asio::error_code ec, tcp_socket peer) { accepted(ec, std::move(peer)); }));
  accepting_ = true;
}

void tcp_listener::accepted(asio::error_code ec, tcp_socket peer) {
  accepting_ = false;
  if (stopped_) {
    asio::error_code ignored;
    acceptor_.close(ignored);
  }
  if (!acceptor_.is_open()) return;
  if (is_shortage(ec)) return pause(ec);
  if (std::exchange(paused_, false)) spdlog::info("accepting goes on");
  // Any other error is of one connection, which was gone before it was accepted.
  if (!ec) on_accepted_(std::move(peer));
  accept();
}

void tcp_listener::pause(const asio::error_code& why) {
  if (!std::exchange(paused_, true)) spdlog::warn("accepting pauses: {}", why.message());
  timer_.expires_after(accept_pause);
  timer_.async_wait([this](asio::error_code) {
    timing_ = false;
    if (acceptor_.is_open()) accept();
  });
  timing_ = true;
}

}  // namespace slabbuf::examples
