// SPDX-License-Identifier: MIT
#include "echo/echo_listener.hpp"

#include "echo/echo_shard.hpp"

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

// A listening socket that is out of descriptors tries again this often, if no connection of the
// shard ends before.
constexpr auto accept_pause = 100ms;

// As many connections as the system queues before it refuses.
constexpr int backlog = asio::socket_base::max_listen_connections;

using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

bool is_shortage(const asio::error_code& ec) {
  return ec == asio::error::no_descriptors || ec == asio::error::no_buffer_space || ec == asio::error::no_memory ||
         ec == std::errc::too_many_files_open_in_system;
}

}  // namespace

echo_listener::echo_listener(echo_shard& shard, begin what)
    : shard_(shard), begin_(what), acceptor_(shard.context_), timer_(shard.context_) {}

asio::ip::tcp::endpoint echo_listener::listen(const asio::ip::tcp::endpoint& endpoint) {
  acceptor_.open(endpoint.protocol());
  acceptor_.set_option(asio::socket_base::reuse_address(true));
  acceptor_.set_option(reuse_port(true));
  acceptor_.bind(endpoint);
  acceptor_.listen(backlog);
  return acceptor_.local_endpoint();
}

void echo_listener::start() {
  if (acceptor_.is_open()) accept();
}

void echo_listener::stop() noexcept {
  asio::error_code ignored;
  acceptor_.close(ignored);
  timer_.cancel();
}

void echo_listener::revive() {
  if (acceptor_.is_open() && !accepting_) pause(asio::error::no_memory);
}

void echo_listener::accept() {
  acceptor_.async_accept(net::bind_pool(
      shard_.handlers_, [this](asio::error_code ec, echo_socket peer) { on_accept(ec, std::move(peer)); }));
  accepting_ = true;
}

void echo_listener::on_accept(asio::error_code ec, echo_socket peer) {
  accepting_ = false;
  if (!acceptor_.is_open()) return;
  if (is_shortage(ec)) return pause(ec);
  if (std::exchange(paused_, false)) spdlog::info("accepting goes on");
  // Any other error is of one connection, which was gone before it was accepted.
  if (!ec) (shard_.*begin_)(std::move(peer));
  accept();
}

void echo_listener::pause(const asio::error_code& why) {
  if (!std::exchange(paused_, true)) spdlog::warn("accepting pauses: {}", why.message());
  timer_.expires_after(accept_pause);
  timer_.async_wait([this](asio::error_code) {
    accepting_ = false;
    if (acceptor_.is_open()) accept();
  });
  accepting_ = true;
}

}  // namespace slabbuf::examples
