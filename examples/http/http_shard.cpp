// SPDX-License-Identifier: MIT
#include "http/http_shard.hpp"

#include "common/reloadable_tls_context.hpp"
#include "http/http_connection.hpp"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <asio/post.hpp>

#include <array>
#include <cstddef>
#include <new>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

// An idle connection is closed when the server drains and nothing came for this long: bytes the peer has sent may still
// be on their way.
constexpr std::chrono::milliseconds drain_quiet = 250ms;

// As far as that goes without waiting: the answer fits into the socket, and a request that is there already is taken
// out, as bytes that nobody reads would make a reset of the end.
void turn_away(tcp_socket& peer) noexcept {
  std::array<std::byte, 16 << 10> unseen;  // NOLINT: nobody reads it
  const int descriptor = peer.native_handle();
  static_cast<void>(
      ::send(descriptor, unavailable_answer.data(), unavailable_answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  static_cast<void>(::recv(descriptor, unseen.data(), unseen.size(), MSG_TRUNC | MSG_DONTWAIT));
}

}  // namespace

http_shard::http_shard(const http_shared& shared, const http_server::handler_factory& make_handler)
    : shared_(shared),
      handler_(make_handler(context_)),
      plain_(context_, handlers_,
             [this](tcp_socket peer) {
               admit(std::move(peer), true, [this](tcp_connection socket) {
                 using connection = http_connection<tcp_connection>;
                 connection::start(std::make_unique<connection>(*this, std::move(socket)));
               });
             }),
      tls_(context_, handlers_, [this](tcp_socket peer) {
        admit(std::move(peer), false, [this](tcp_connection socket) {
          tls_socket stream(std::move(socket), shared_.options.tls_context->current().get(), shared_.buffers);
          http_connection<tls_socket>::start(std::make_unique<http_connection<tls_socket>>(*this, std::move(stream)));
        });
      }) {}

// Whatever still runs when a shard dies early ends with its io_context, after the timers: connections must leave those
// alone.
http_shard::~http_shard() { dying_ = true; }

void http_shard::start() {
  plain_.start();
  tls_.start();
}

void http_shard::run() {
  for (;;) {
    try {
      context_.run();
      return;
    } catch (const std::bad_alloc&) {
      // Whichever connection that was has died with its handler. The others go on.
      spdlog::warn("out of memory: a connection was dropped");
      served_ = nullptr;
      returned_.reset();
      plain_.revive();
      tls_.revive();
    }
  }
}

void http_shard::drain() {
  asio::post(context_, [this] { draining_ ? abort_all() : start_draining(); });
}

template <class Begin>
void http_shard::admit(tcp_socket peer, bool plain, Begin begin) {
  counters_.accepted.add();
  // Shards that look at once let in as many more at most.
  if (shared_.connections.load(std::memory_order_relaxed) >= shared_.options.limits.connections_max) {
    counters_.refused.add();
    refusals_.add(shared_.options.limits.connections_max);
    if (plain) turn_away(peer);
    return;
  }
  asio::error_code ignored;  // the peer may have gone already; the first read will say so
  peer.set_option(asio::ip::tcp::no_delay(true), ignored);
  try {
    begin(tcp_connection(std::move(peer)));
  } catch (const std::system_error& fault) {
    // OpenSSL or the system had no memory for it.
    spdlog::warn("a connection was dropped: {}", fault.what());
  }
}

void http_shard::start_draining() {
  draining_ = true;
  plain_.stop();
  tls_.stop();
  if (connection_count_ == 0) return end_draining();
  drain_timer_.expires_after(drain_timeout);
  drain_timer_.async_wait([this](asio::error_code ec) {
    if (!ec) abort_all();
  });
  deadlines_.for_each([](net::basic_deadline& each) { each.expires_after(drain_quiet); });
}

void http_shard::end_draining() {
  deadlines_.stop();
  drain_timer_.cancel();
  handler_->stop();
}

void http_shard::abort_all() {
  if (connection_count_ != 0) spdlog::warn("closing {} connections that did not finish", connection_count_);
  aborting_ = true;
  deadlines_.for_each([](net::basic_deadline& each) { each.expire(); });
}

void http_shard::connection_began() noexcept {
  shared_.connections.fetch_add(1, std::memory_order_relaxed);
  ++connection_count_;
}

void http_shard::connection_ended() {
  shared_.connections.fetch_sub(1, std::memory_order_relaxed);
  --connection_count_;
  if (dying_) return;
  if (draining_ && connection_count_ == 0) end_draining();
  plain_.hurry();
  tls_.hurry();
}

}  // namespace slabbuf::examples
