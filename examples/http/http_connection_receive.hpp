// SPDX-License-Identifier: MIT
// http_connection: from the first byte of a request to its handler, and the end of a connection.
// Included by http_connection.cpp alone.
#pragma once

#include "http/http_connection.hpp"

#include "http/http_host.hpp"

#include <slabbuf/net/net.hpp>

#include <sys/socket.h>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

namespace slabbuf::examples {

// Most requests fit; what does not is moved to a larger block.
inline constexpr std::size_t head_bytes_first = 2048;

// Requests that came together are answered without looking at other connections, but not more of them than this.
inline constexpr unsigned pipelined_per_turn_max = 16;

// A client that sends what nobody reads is listened to while it does, so that it gets its answer before the connection
// is reset: until it is silent, or has had long enough to notice.
inline constexpr std::chrono::seconds linger_silence{2};
inline constexpr std::chrono::seconds linger_time{30};
// The time a TLS client has to say goodbye, too.
inline constexpr std::chrono::milliseconds goodbye_time{200};

template <class Stream>
http_connection<Stream>::http_connection(http_shard& shard, Stream stream)
    : shard_(shard), stream_(std::move(stream)), deadline_(shard.deadlines_, expire{this}) {
  expires_after(phase::handshake, shard_.shared_.options.limits.head_timeout);
  asio::error_code ec;
  const tcp_connection::endpoint_type here = socket().local_endpoint(ec);
  const asio::ip::address address = here.address();
  local_ = !ec && (address.is_v6() && address.to_v6().is_v4_mapped()
                       ? asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback()
                       : address.is_loopback());
  shard_.connection_began();
}

template <class Stream>
http_connection<Stream>::~http_connection() {
  end_active();
  shard_.connection_ended();
}

template <class Stream>
asio::ip::address http_connection<Stream>::peer() const noexcept {
  asio::error_code gone;
  return stream_.lowest_layer().remote_endpoint(gone).address();
}

template <class Stream>
tcp_connection& http_connection<Stream>::socket() noexcept {
  if constexpr (plain) {
    return stream_;
  } else {
    return stream_.next_layer();
  }
}

// The handler of an operation: `step(self, results...)`, with memory from the shard's pool.
template <class Stream>
template <class Step>
auto http_connection<Stream>::bound(pointer self, Step step) {
  local_pool& handlers = self->shard_.handlers_;
  return net::bind_pool(handlers, bound_step<Step>{std::move(self), std::move(step)});
}

template <class Stream>
auto http_connection<Stream>::own(http_exchange_ptr exchange) noexcept -> pointer {
  return pointer(static_cast<http_connection*>(exchange.release()));
}

template <class Stream>
void http_connection<Stream>::start(pointer self) {
  if constexpr (plain) {
    wait_for_request(std::move(self));
  } else {
    http_connection& connection = *self;
    connection.stream_.async_handshake(tls_socket::server,
                                       bound(std::move(self), [](pointer next, asio::error_code ec) {
                                         if (!ec) wait_for_request(std::move(next));
                                       }));
  }
}

template <class Stream>
void http_connection<Stream>::wait_for_request(pointer self) {
  http_connection& connection = *self;
  connection.expires_after(phase::idle, connection.idle_time());
  if (connection.shard_.draining_) return close_idle(std::move(self));
  net::async_read_some(
      connection.stream_, connection.buffers(),
      bound(std::move(self), [](pointer next, asio::error_code ec,
                                buffer received) { on_first_bytes(std::move(next), ec, std::move(received)); }),
      head_bytes_first);
}

template <class Stream>
void http_connection<Stream>::on_first_bytes(pointer self, asio::error_code ec, buffer received) {
  http_connection& connection = *self;
  if (ec == asio::error::no_buffer_space) {
    // Bytes have arrived and there is no room for them: they stay in the socket until it is this connection's turn.
    const std::size_t bytes = std::min(head_bytes_first, connection.buffers().block_bytes_max());
    return wait_for_memory(std::move(self), bytes, [](pointer next, asio::error_code refused, buffer granted) {
      if (refused) return refuse_for_memory(std::move(next));
      granted.resize(0);
      begin_request(*next, std::move(granted));
      receive_more_of_head(std::move(next));
    });
  }
  if (ec == asio::error::operation_aborted && connection.deadline_.expired()) return close_idle(std::move(self));
  if (ec) return;
  begin_request(connection, std::move(received));
  serve(std::move(self));
}

template <class Stream>
void http_connection<Stream>::begin_request(http_connection& self, buffer received) {
  self.start_active();
  self.shard_.counters_.received_bytes.add(received.size());
  self.current()->input = std::move(received);
  self.begin_head();
}

// From the first byte of the head on.
template <class Stream>
void http_connection<Stream>::begin_head() {
  active& now = *current();
  const http_limits& limits = shard_.shared_.options.limits;
  now.parser.begin(now.request, limits.head_bytes_max, limits.target_bytes_max);
  now.input_from = now.head_from;
}

// Parses what has come, and has it answered. A loop, not a recursion: a client may send a thousand requests at once.
template <class Stream>
void http_connection<Stream>::serve(pointer self) {
  for (unsigned turn = 0;; ++turn) {
    http_connection& connection = *self;
    http_shard& shard = connection.shard_;
    active& now = *connection.current();
    if (turn == pipelined_per_turn_max) {
      connection.phase_ = phase::working;
      return asio::post(shard.context_, bound(std::move(self), [](pointer next) { serve(std::move(next)); }));
    }
    const char* const head = reinterpret_cast<const char*>(std::as_const(now.input).data()) + now.head_from;
    const auto progress = now.parser.parse_head(head, now.input_from - now.head_from, now.input.size() - now.head_from);
    if (progress == http_parser::progress::more) {
      now.input_from = now.input.size();
      return receive_more_of_head(std::move(self));
    }
    shard.counters_.requests.add();
    ++connection.request_count_;
    connection.phase_ = phase::working;
    if (progress == http_parser::progress::refused) {
      shard.served_ = &connection;
      refuse(std::move(self), now.parser.status(), now.parser.why());
    } else if (const auto refusal = connection.refusal(); refusal.status != 0) {
      shard.served_ = &connection;
      refuse(std::move(self), refusal.status, refusal.why);
    } else {
      now.input_from = now.head_from + now.parser.consumed();
      shard.served_ = &connection;
      shard.handler_->handle(std::move(self));
    }
    shard.served_ = nullptr;
    // Nothing comes back unless there are more bytes: it goes on by itself, or is gone.
    if (shard.returned_ == nullptr) return;
    self = own(std::move(shard.returned_));
  }
}

// What is for somebody else, or what a browser may be made to ask for by a page from elsewhere: on this machine, and
// wherever the server knows what it is called.
template <class Stream>
auto http_connection<Stream>::refusal() const noexcept -> refused_request {
  const http_request& request = current()->request;
  if (const auto origin = origin_of(request.target())) {
    if (origin->authority.empty() || !is_host(origin->authority)) return {400, "the target has no host"};
    if (!equal_ignoring_case(origin->scheme, plain ? "http" : "https")) return {421, "the target is of another scheme"};
  }
  if (!is_for_this_server(request, local_, shard_.shared_.options.hosts))
    return {421, "this server does not have that name (--host)"};
  const bool writes = request.method() == http_method::put || request.method() == http_method::remove;
  if (writes && is_of_another_site(request)) return {403, "this is not for the pages of other sites"};
  return {0, {}};
}

template <class Stream>
void http_connection<Stream>::refuse(pointer self, int status, std::string_view why) {
  self->current()->closes = true;
  respond(std::move(self), status, why);
}

template <class Stream>
void http_connection<Stream>::receive_more_of_head(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  const http_limits& limits = connection.shard_.shared_.options.limits;
  if (!connection.make_room()) return refuse(std::move(self), 503, "there is no memory for a header this long");
  // One deadline for all of the head, however many pieces it comes in.
  if (connection.phase_ != phase::head) connection.expires_after(phase::head, limits.head_timeout);
  const std::size_t size = now.input.size();
  const std::span<std::byte> room = now.input.prepare().subspan(size);
  connection.stream_.async_read_some(
      asio::buffer(room.data(), room.size()),
      bound(std::move(self), [size](pointer next, asio::error_code ec, std::size_t received) {
        http_connection& reading = *next;
        reading.current()->input.commit(size + received);
        reading.shard_.counters_.received_bytes.add(received);
        // Also when it came to something: bytes that are there all the time must not outrun the deadline.
        if (reading.deadline_.expired() && !reading.shard_.aborting_)
          return refuse(std::move(next), 408, "the header did not come in time");
        if (!ec) serve(std::move(next));
      }));
}

// For at least a byte more of the head: behind what there is, in front of it, or in a larger block. Positions in the
// block change with that: it is parsed again.
template <class Stream>
bool http_connection<Stream>::make_room() {
  active& now = *current();
  if (now.input.size() < now.input.capacity()) return true;
  const std::size_t kept = now.input.size() - now.head_from;
  if (now.head_from != 0) {
    std::memmove(now.input.data(), now.input.data() + now.head_from, kept);
    now.input.resize(kept);
  } else {
    buffer larger = buffers().try_acquire(shard_.shared_.options.limits.head_bytes_max);
    if (!larger || larger.capacity() <= kept) return false;
    std::memcpy(larger.writable(kept).data(), std::as_const(now.input).data(), kept);
    larger.resize(kept);
    now.input = std::move(larger);
  }
  now.head_from = 0;
  begin_head();
  return true;
}

// The answer has been sent.
template <class Stream>
void http_connection<Stream>::finish(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  if (now.closes) return close_gracefully(std::move(self));
  if (now.input_from == now.input.size()) {
    connection.end_active();
    return wait_for_request(std::move(self));
  }
  // The next request has come already.
  buffer rest = std::move(now.input);
  const std::size_t from = now.input_from;
  connection.end_active();
  connection.start_active();
  active& next = *connection.current();
  next.input = std::move(rest);
  next.head_from = from;
  connection.begin_head();
  connection.expires_after(phase::working, connection.shard_.shared_.options.limits.head_timeout);
  if (connection.shard_.served_ == &connection) {
    connection.shard_.returned_ = std::move(self);
  } else {
    serve(std::move(self));
  }
}

// Says that nothing more will come, and listens for a while: a peer that is still sending would lose the answer to the
// reset that follows when bytes are left unread.
template <class Stream>
void http_connection<Stream>::close_gracefully(pointer self) {
  http_connection& connection = *self;
  connection.end_active();
  connection.lingers_until_ = std::chrono::steady_clock::now() + linger_time;
  connection.expires_after(phase::closing, linger_silence);
  if constexpr (plain) {
    linger(std::move(self));
  } else {
    connection.stream_.async_shutdown(
        bound(std::move(self), [](pointer next, asio::error_code) { linger(std::move(next)); }));
  }
}

// Nothing has come that was not answered. A TLS client is told that this is the end, and not waited for.
template <class Stream>
void http_connection<Stream>::close_idle(pointer self) {
  if constexpr (!plain) {
    http_connection& connection = *self;
    connection.expires_after(phase::closing, goodbye_time);
    connection.stream_.async_shutdown(bound(std::move(self), [](pointer, asio::error_code) {}));
  }
}

template <class Stream>
void http_connection<Stream>::linger(pointer self) {
  http_connection& connection = *self;
  asio::error_code ec;
  connection.socket().shutdown(tcp_connection::shutdown_send, ec);
  if (ec) return;
  // Dropped by the kernel, which copies nothing. What is left makes the socket readable again at once.
  std::array<std::byte, 16 << 10> unseen;  // NOLINT: nobody reads it
  const ::ssize_t dropped =
      ::recv(connection.socket().native_handle(), unseen.data(), unseen.size(), MSG_TRUNC | MSG_DONTWAIT);
  if (dropped == 0 || (dropped < 0 && errno != EAGAIN && errno != EINTR)) return;
  if (dropped > 0 && !connection.shard_.draining_) {
    const auto left = connection.lingers_until_ - std::chrono::steady_clock::now();
    if (left <= left.zero()) return;
    connection.deadline_.expires_after(std::min<std::chrono::steady_clock::duration>(linger_silence, left));
  }
  connection.socket().async_wait(tcp_connection::wait_read,
                                 bound(std::move(self), [](pointer next, asio::error_code failed) {
                                   if (!failed) linger(std::move(next));
                                 }));
}

template <class Stream>
void http_connection<Stream>::on_deadline() {
  if (shard_.aborting_) return abort();
  asio::error_code ignored;
  switch (phase_) {
    case phase::idle:
      // While the server drains, this is sooner than it was.
      if (!shard_.draining_ && shard_.shared_.options.limits.idle_timeout.count() == 0) return deadline_.restart();
      socket().cancel(ignored);  // the read ends, and sees why
      return;
    case phase::head:
    case phase::body:
      // Draining has set a deadline that is too short for a request that has begun; its own end comes by the abort.
      if (shard_.draining_) return deadline_.restart();
      socket().cancel(ignored);
      return;
    case phase::sending:
      if (shard_.draining_ || is_taken_fast_enough()) return deadline_.restart();
      return abort();
    case phase::waiting:
      if (shard_.draining_) return deadline_.restart();
      memory_wait_.emit(asio::cancellation_type::terminal);
      return;
    case phase::working:
      if (current() != nullptr) current()->watched = false;
      return deadline_.restart();
    case phase::handshake:
    case phase::closing: return abort();
  }
}

// Ends every operation with an error, so that the connection dies.
template <class Stream>
void http_connection<Stream>::abort() noexcept {
  asio::error_code ignored;
  socket().close(ignored);
  memory_wait_.emit(asio::cancellation_type::terminal);
}

template <class Stream>
void http_connection<Stream>::expires_after(phase next, std::chrono::steady_clock::duration time) {
  phase_ = next;
  deadline_.expires_after(time);
}

// Without a timeout it is armed all the same: draining shortens what is armed.
template <class Stream>
std::chrono::seconds http_connection<Stream>::idle_time() const noexcept {
  const std::chrono::seconds timeout = shard_.shared_.options.limits.idle_timeout;
  return timeout == timeout.zero() ? std::chrono::hours(24) : timeout;
}

template <class Stream>
void http_connection<Stream>::start_active() {
  static_assert(sizeof(active) <= net::handler_bytes_max, "the state of a request comes from the pool");
  net::handler_allocator<active> allocator(shard_.handlers_);
  state_ = new (allocator.allocate(1)) active;  // NOLINT: end_active() gives it back
}

template <class Stream>
void http_connection<Stream>::end_active() noexcept {
  if (state_ == nullptr) return;
  net::handler_allocator<active> allocator(shard_.handlers_);
  active* const dying = current();
  state_ = nullptr;
  dying->~active();
  allocator.deallocate(dying, 1);
}

}  // namespace slabbuf::examples
