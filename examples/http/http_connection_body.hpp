// SPDX-License-Identifier: MIT
// http_connection: the body of a request, piece by piece.
// Included by http_connection.cpp alone.
#pragma once

#include "http/http_connection.hpp"

#include <slabbuf/net/net.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace slabbuf::examples {

// What one read of a body takes at most: a block for as long as its bytes are on their way to the file.
inline constexpr std::size_t body_bytes_per_read = std::size_t{128} << 10;
// And at least, when the budget has to be waited for.
inline constexpr std::size_t body_bytes_when_short = std::size_t{16} << 10;

template <class Stream>
void http_connection<Stream>::do_read_body(http_exchange_ptr exchange) {
  pointer self = own(std::move(exchange));
  http_connection& connection = *self;
  active& now = *connection.current();
  if (now.body_complete) return deliver(std::move(self), {}, {}, true);
  if (!std::exchange(now.body_begun, true)) {
    now.body_time_left = connection.shard_.shared_.options.limits.body_timeout;
    // The first of them may have come with the head.
    if (!now.request.has_body() || now.input_from != now.input.size()) return decode(std::move(self));
    now.input.release();
    now.input_from = 0;
    if (now.request.expects_continue()) {
      static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      buffer text = connection.buffers().try_acquire(go_on.size());
      if (!text) return refuse(std::move(self), 503, "there is no memory for an upload");
      std::memcpy(text.data(), go_on.data(), go_on.size());
      connection.watch_sending(text.capacity());
      return net::async_write(connection.stream_, std::move(text),
                              bound(std::move(self), [](pointer next, asio::error_code ec, std::size_t) {
                                ec ? deliver(std::move(next), ec, {}, false) : receive_body(std::move(next));
                              }));
    }
  }
  receive_body(std::move(self));
}

// Takes the bytes of the body out of what has been received.
template <class Stream>
void http_connection<Stream>::decode(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  if (!now.request.has_body()) {
    now.body_complete = true;
    return deliver(std::move(self), {}, {}, true);
  }
  char* const block = reinterpret_cast<char*>(now.input.data());
  const auto progress = now.parser.decode_body({block + now.input_from, now.input.size() - now.input_from}, block);
  if (progress == http_parser::progress::refused) return deliver(std::move(self), asio::error::message_size, {}, false);
  const std::size_t decoded = now.parser.decoded();
  const std::size_t rest_from = now.input_from + now.parser.consumed();
  const std::size_t rest_bytes = now.input.size() - rest_from;
  buffer piece = std::move(now.input);
  now.input_from = 0;
  if (progress == http_parser::progress::complete) {
    now.body_complete = true;
    if (rest_bytes != 0) {
      // The next request, in the block that is given away now. Where there is no room for it, the client has to repeat
      // it, and so it has where there is more than a head.
      if (rest_bytes <= connection.shard_.shared_.options.limits.head_bytes_max)
        now.input = connection.buffers().try_acquire(rest_bytes);
      if (now.input) {
        std::memcpy(now.input.data(), std::as_const(piece).data() + rest_from, rest_bytes);
      } else {
        now.closes = true;
      }
    }
  } else if (decoded == 0) {
    piece.release();
    return receive_body(std::move(self));
  }
  now.progress_bytes += decoded;
  piece.resize(decoded);
  deliver(std::move(self), {}, std::move(piece), now.body_complete);
}

template <class Stream>
void http_connection<Stream>::receive_body(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  connection.start_body_clock();
  // What is behind the body stays in the socket, where the head says how long the body is.
  const std::size_t most =
      static_cast<std::size_t>(std::min<std::uint64_t>(body_bytes_per_read, now.parser.body_bytes_left()));
  net::async_read_some(connection.stream_, connection.buffers(), bound(std::move(self), &on_body_bytes), most);
}

// For so many bytes, not for each read: a byte now and then does not keep a connection.
template <class Stream>
void http_connection<Stream>::start_body_clock() {
  active& now = *current();
  const http_limits& limits = shard_.shared_.options.limits;
  if (now.progress_bytes >= limits.body_bytes_least) {
    now.body_time_left = limits.body_timeout;
    now.progress_bytes = 0;
  }
  now.body_waits_since = std::chrono::steady_clock::now();
  expires_after(phase::body, now.body_time_left);
}

// A read has ended. One that came to something as its time ran out is late all the same.
template <class Stream>
asio::error_code http_connection<Stream>::stop_body_clock(asio::error_code ec) {
  active& now = *current();
  phase_ = phase::working;
  now.body_time_left -= std::chrono::steady_clock::now() - now.body_waits_since;
  const bool late = deadline_.expired() && !shard_.aborting_;
  return late ? asio::error_code(asio::error::timed_out) : ec;
}

template <class Stream>
void http_connection<Stream>::on_body_bytes(pointer self, asio::error_code ec, buffer received) {
  http_connection& connection = *self;
  active& now = *connection.current();
  ec = connection.stop_body_clock(ec);
  if (ec == asio::error::no_buffer_space) {
    const std::size_t wanted = std::min(body_bytes_when_short, connection.buffers().block_bytes_max());
    return wait_for_memory(std::move(self), wanted, [](pointer next, asio::error_code refused, buffer granted) {
      if (refused) {
        const bool late = next->deadline_.expired() && !next->shard_.aborting_;
        return deliver(std::move(next), late ? asio::error_code(asio::error::no_buffer_space) : refused, {}, false);
      }
      http_connection& reading = *next;
      reading.start_body_clock();
      const std::span<std::byte> room = granted.prepare();
      reading.stream_.async_read_some(
          asio::buffer(room.data(), room.size()),
          bound(std::move(next),
                [granted = std::move(granted)](pointer again, asio::error_code failed, std::size_t bytes) mutable {
                  granted.commit(bytes);
                  on_body_bytes(std::move(again), failed, std::move(granted));
                }));
    });
  }
  if (ec) return deliver(std::move(self), ec, {}, false);
  connection.shard_.counters_.received_bytes.add(received.size());
  now.input = std::move(received);
  now.input_from = 0;
  decode(std::move(self));
}

template <class Stream>
void http_connection<Stream>::deliver(pointer self, asio::error_code ec, buffer piece, bool last) {
  http_body_reader& reader = *self->current()->body_reader;
  self->phase_ = phase::working;
  reader.on_body(std::move(self), ec, std::move(piece), last);
}

}  // namespace slabbuf::examples
