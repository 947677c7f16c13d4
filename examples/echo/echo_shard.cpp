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

// A connection is drained when nothing came for this long: bytes the peer has sent may still be on
// their way.
constexpr std::chrono::milliseconds drain_quiet = 250ms;

}  // namespace

echo_shard::echo_shard(echo_shared& shared) : shared_(shared) {}

asio::ip::udp::endpoint echo_shard::listen_udp(const asio::ip::udp::endpoint& endpoint) {
  return datagrams_.emplace(*this, endpoint).endpoint();
}

// Whatever still runs when a shard dies early ends with its io_context, after the timers: sessions
// must leave those alone.
echo_shard::~echo_shard() { dying_ = true; }

void echo_shard::start() {
  tcp_.start();
  tls_.start();
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
      tcp_.revive();
      tls_.revive();
      if (datagrams_) datagrams_->revive();
    }
  }
}

void echo_shard::stop() noexcept { context_.stop(); }

void echo_shard::drain() {
  asio::post(context_, [this] { draining_ ? abort_all() : start_draining(); });
}

void echo_shard::begin_tcp(tcp_socket peer) {
  begin(std::move(peer), [](tcp_socket accepted) { return tcp_connection(std::move(accepted)); });
}

void echo_shard::begin_tls(tcp_socket peer) {
  begin(std::move(peer), [this](tcp_socket accepted) {
    return echo_tls_stream(tcp_connection(std::move(accepted)), shared_.tls->current().get(), shared_.buffers);
  });
}

template <class Make>
void echo_shard::begin(tcp_socket peer, Make make_stream) {
  if (shared_.connections.fetch_add(1, std::memory_order_relaxed) >= shared_.options.connections_max) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    counters_.refused.add();
    return refusals_.add(shared_.options.connections_max);
  }
  counters_.accepted.add();
  asio::error_code ignored;  // the peer may have gone already; the first read will say so
  peer.set_option(asio::ip::tcp::no_delay(true), ignored);
  using session = echo_session<decltype(make_stream(std::move(peer)))>;
  std::unique_ptr<session> made;
  try {
    made = std::make_unique<session>(*this, make_stream(std::move(peer)));
  } catch (const std::system_error&) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    throw std::bad_alloc();  // there is nothing else that OpenSSL or the system could lack
  } catch (...) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    throw;
  }
  session::start(std::move(made));
}

// How long a connection may be silent.
std::chrono::milliseconds echo_shard::patience() const noexcept {
  if (draining_) return drain_quiet;
  // Without a timeout deadlines are armed all the same: draining shortens what is armed.
  const auto timeout = shared_.options.idle_timeout;
  return timeout == timeout.zero() ? 24h : timeout;
}

void echo_shard::start_draining() {
  draining_ = true;
  tcp_.stop();
  tls_.stop();
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
  tcp_.hurry();
  tls_.hurry();
}

void echo_shard::datagrams_ended() {
  if (drained()) end_draining();
}

}  // namespace slabbuf::examples
