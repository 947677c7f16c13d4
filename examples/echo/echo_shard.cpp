// SPDX-License-Identifier: MIT
#include "echo/echo_shard.hpp"

#include "common/command_line.hpp"

#include <slabbuf/net/net.hpp>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>

#include <new>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

// A listening socket that is out of descriptors tries again this often, if no connection of the
// shard ends before.
constexpr auto accept_pause = 100ms;

// A connection is drained when nothing came for this long: bytes the peer has sent may still be on
// their way.
constexpr std::chrono::milliseconds drain_quiet = 250ms;

// As many connections as the system queues before it refuses.
constexpr int backlog = asio::socket_base::max_listen_connections;

using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

bool is_shortage(const asio::error_code& ec) {
  return ec == asio::error::no_descriptors || ec == asio::error::no_buffer_space || ec == asio::error::no_memory ||
         ec == std::errc::too_many_files_open_in_system;
}

}  // namespace

echo_shard::echo_shard(echo_shared& shared) : shared_(shared) {}

asio::ip::tcp::endpoint echo_shard::listen(const asio::ip::tcp::endpoint& endpoint) {
  acceptor_.open(endpoint.protocol());
  acceptor_.set_option(asio::socket_base::reuse_address(true));
  acceptor_.set_option(reuse_port(true));
  acceptor_.bind(endpoint);
  acceptor_.listen(backlog);
  return acceptor_.local_endpoint();
}

asio::ip::udp::endpoint echo_shard::listen(const asio::ip::udp::endpoint& endpoint) {
  return datagrams_.emplace(*this, endpoint).endpoint();
}

// Whatever still runs when a shard dies early ends with its io_context, after the timers: sessions
// must leave those alone.
echo_shard::~echo_shard() { dying_ = true; }

void echo_shard::start() {
  if (acceptor_.is_open()) accept();
  if (datagrams_) datagrams_->start();
}

void echo_shard::run() {
  for (;;) {
    try {
      context_.run();
      return;
    } catch (const std::bad_alloc&) {
      // Whichever connection that was has died with its handler. The others go on.
      spdlog::warn("out of memory: a connection was dropped");
      if (acceptor_.is_open() && !accepting_ && !draining_) pause_accepting(asio::error::no_memory);
      if (datagrams_) datagrams_->revive();
    }
  }
}

void echo_shard::stop() noexcept { context_.stop(); }

void echo_shard::drain() {
  asio::post(context_, [this] { draining_ ? abort_all() : start_draining(); });
}

void echo_shard::accept() {
  acceptor_.async_accept(
      net::bind_pool(handlers_, [this](asio::error_code ec, echo_socket peer) { on_accept(ec, std::move(peer)); }));
  accepting_ = true;
}

void echo_shard::on_accept(asio::error_code ec, echo_socket peer) {
  accepting_ = false;
  if (draining_) return;
  if (is_shortage(ec)) return pause_accepting(ec);
  if (std::exchange(accepting_paused_, false)) spdlog::info("accepting goes on");
  // Any other error is of one connection, which was gone before it was accepted.
  if (!ec) begin(std::move(peer));
  accept();
}

void echo_shard::begin(echo_socket peer) {
  if (shared_.connections.fetch_add(1, std::memory_order_relaxed) >= shared_.options.connections_max) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    return log_refusal();
  }
  asio::error_code ignored;  // the peer may have gone already; the first read will say so
  peer.set_option(asio::ip::tcp::no_delay(true), ignored);
  std::unique_ptr<echo_session> session;
  try {
    session = std::make_unique<echo_session>(*this, std::move(peer));
  } catch (...) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    throw;
  }
  echo_session::read(std::move(session));
}

// One line a second at most, however many are refused.
void echo_shard::log_refusal() {
  ++refused_count_;
  const auto now = std::chrono::steady_clock::now();
  if (now - refusal_logged_at_ < 1s) return;
  refusal_logged_at_ = now;
  spdlog::warn("refused {} connections: --connections-max is {}", std::exchange(refused_count_, 0),
               shared_.options.connections_max);
}

void echo_shard::pause_accepting(const asio::error_code& why) {
  if (!std::exchange(accepting_paused_, true)) spdlog::warn("accepting pauses: {}", why.message());
  accept_timer_.expires_after(accept_pause);
  accept_timer_.async_wait([this](asio::error_code) {
    accepting_ = false;
    if (!draining_) accept();
  });
  accepting_ = true;
}

void echo_shard::start_draining() {
  draining_ = true;
  asio::error_code ignored;
  acceptor_.close(ignored);
  accept_timer_.cancel();
  if (datagrams_) datagrams_->drain();
  if (drained()) return end_draining();
  drain_timer_.expires_after(drain_timeout);
  drain_timer_.async_wait([this](asio::error_code ec) {
    if (!ec) abort_all();
  });
  deadlines_.for_each([](net::basic_deadline& each) { each.expires_after(drain_quiet); });
}

void echo_shard::end_draining() {
  deadlines_.stop();
  drain_timer_.cancel();
}

void echo_shard::abort_all() {
  if (session_count_ != 0) spdlog::warn("closing {} connections that did not finish", session_count_);
  aborting_ = true;
  deadlines_.for_each([](net::basic_deadline& each) { each.expire(); });
  if (datagrams_) datagrams_->abort();
}

void echo_shard::session_ended() {
  shared_.connections.fetch_sub(1, std::memory_order_relaxed);
  --session_count_;
  if (dying_) return;
  if (drained()) end_draining();
  // A descriptor is free again: whoever waits for one need not wait for the timer.
  accept_timer_.cancel();
}

void echo_shard::datagrams_ended() {
  if (drained()) end_draining();
}

}  // namespace slabbuf::examples
