// SPDX-License-Identifier: MIT
// http_connection: the answer, block by block, or by the system.
// Included by http_connection.cpp alone.
//
//     plain  | head, small parts of the file | one block, one send; large parts by net::send_file_some
//     TLS    | head, file ................   | blocks of up to 128 KiB, each encrypted and sent before the next one
//
// The file is read without waiting; what is not in memory is read, or fetched, by another thread.
#pragma once

#include "http/http_connection.hpp"

#include "http/acknowledged_bytes.hpp"
#include "http/blocking_threads.hpp"

#include <slabbuf/net/net.hpp>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

namespace slabbuf::examples {

// Parts of a file as large as this are sent by the system, where there is no TLS; smaller ones cost less as bytes in a
// block, behind the head (bench/net/send_file_bench.cpp).
inline constexpr std::uint64_t send_file_bytes_least = std::uint64_t{64} << 10;
// What is not in memory is brought there for so many bytes at once, and counts as being there for so long. Where the
// system cannot say (overlayfs, say), each step would else fetch what the ones before have fetched: a peer that takes
// little at a time has this read four times a second at most.
inline constexpr std::size_t warmed_bytes_max = std::size_t{256} << 10;
inline constexpr std::chrono::milliseconds warmed_time{250};
inline constexpr std::size_t output_bytes_max = std::size_t{128} << 10;
// As much where the budget is short: whoever reads slowly keeps no more, and over TLS twice that.
inline constexpr std::size_t output_bytes_when_short = std::size_t{16} << 10;

template <class Stream>
void http_connection<Stream>::do_respond(http_exchange_ptr exchange) {
  pointer self = own(std::move(exchange));
  http_connection& connection = *self;
  active& now = *connection.current();
  http_response& answer = now.response;
  const http_limits& limits = connection.shard_.shared_.options.limits;
  const bool unread = now.request.has_body() && !now.body_complete;
  now.closes = now.closes || answer.close || unread || connection.shard_.draining_ || !now.parser.keeps_alive() ||
               connection.request_count_ >= limits.requests_max;
  connection.shard_.counters_.answers[static_cast<std::size_t>(answer.status / 100) % 6].add();
  // Nothing that has come is needed any more but the requests that follow.
  if (now.closes || now.input_from == now.input.size()) {
    now.input.release();
    now.input_from = 0;
  }
  connection.phase_ = phase::sending;
  if (answer.blocks.empty() || now.request.method() == http_method::head) return send(std::move(self));
  send_blocks(std::move(self));
}

// A body that is in blocks already: the head goes before it.
template <class Stream>
void http_connection<Stream>::send_blocks(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  if (!connection.take_output_block()) {
    // Whoever holds blocks must not wait for another one.
    now.response.blocks.clear();
    now.response.fields.clear();
    now.response.say(503, "there is no memory for this answer");
    return send(std::move(self));
  }
  now.output.commit(write_head(now.output.prepare(), now.response,
                               {connection.shard_.clock_.now(), now.closes, now.request.minor_version() == 0}));
  now.head_written = true;
  buffer_chain all = std::move(now.response.blocks);
  all.prepend(std::move(now.output));
  connection.shard_.counters_.sent_bytes.add(all.size());
  connection.watch_sending(all.size());
  net::async_write(connection.stream_, std::move(all),
                   bound(std::move(self), [](pointer next, asio::error_code ec, std::size_t) {
                     if (!ec) finish(std::move(next));
                   }));
}

template <class Stream>
void http_connection<Stream>::send(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  for (;;) {
    if constexpr (plain) {
      switch (connection.send_output()) {
        case sent::all: break;
        case sent::blocked: return wait_until_writable(std::move(self));
        default: return;
      }
    } else {
      if (now.output && now.output.size() != 0) return write_output(std::move(self));
    }
    if (now.head_written && (connection.is_without_body() || now.response.body.left() == 0))
      return finish(std::move(self));
    if (now.head_written && connection.next_is_sent_by_system()) {
      if (!send_file_part(self)) return;
      continue;
    }
    if (!now.output && !connection.take_output_block()) return wait_for_block(std::move(self));
    switch (connection.fill()) {
      case filled::yes: break;
      case filled::cold: return read_cold(std::move(self));
      case filled::broken: return connection.file_failed();
    }
  }
}

// Plain: what is in the block, as far as the socket takes it.
template <class Stream>
auto http_connection<Stream>::send_output() -> sent {
  active& now = *current();
  // Not MSG_MORE, where the system sends what follows: a head that is a packet of its own wakes the peer up, which
  // takes the file then while it is sent; the server's processor has less to do (bench/README.md).
  while (now.output) {
    const std::size_t left = now.output.size() - now.output_from;
    if (left == 0) {
      now.output.release();
      now.output_from = 0;
      break;
    }
    const ::ssize_t taken = ::send(socket().native_handle(), std::as_const(now.output).data() + now.output_from, left,
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN ? sent::blocked : sent::failed;
    }
    now.output_from += static_cast<std::size_t>(taken);
    shard_.counters_.sent_bytes.add(static_cast<std::uint64_t>(taken));
  }
  return sent::all;
}

// Whatever the head says of one (RFC 9110, 6.4.1).
template <class Stream>
bool http_connection<Stream>::is_without_body() const {
  return current()->request.method() == http_method::head || current()->response.status == 304;
}

template <class Stream>
bool http_connection<Stream>::next_is_sent_by_system() const {
  if constexpr (plain) {
    const http_body& body = current()->response.body;
    return !is_without_body() && body.left() != 0 && !body.next_is_text() && body.next_count() >= send_file_bytes_least;
  } else {
    return false;
  }
}

// True when the next step is to be taken at once; otherwise `self` is elsewhere.
template <class Stream>
bool http_connection<Stream>::send_file_part(pointer& self) {
  http_connection& connection = *self;
  http_body& body = connection.current()->response.body;
  // Looked for in memory before each step, up to where the next part begins: between two steps a slow peer may let
  // minutes pass, in which the system takes back what was there.
  const std::uint64_t part_left = http_file::part_bytes - body.next_offset() % http_file::part_bytes;
  const auto count = static_cast<std::size_t>(std::min(body.next_count(), part_left));
  if (body.file()->is_warm(body.next_offset(), count)) return send_warm_part(self, count);
  const active& now = *connection.current();
  if (body.next_offset() >= now.warmed_from && body.next_offset() < now.warmed_until &&
      std::chrono::steady_clock::now() - now.warmed_at < warmed_time)
    return send_warm_part(self, std::min<std::size_t>(count, now.warmed_until - body.next_offset()));
  warm_cold(std::move(self), std::min(count, warmed_bytes_max));
  return false;
}

template <class Stream>
bool http_connection<Stream>::send_warm_part(pointer& self, std::size_t count) {
  http_connection& connection = *self;
  http_body& body = connection.current()->response.body;
  asio::error_code ec;
  const std::size_t sent_bytes =
      net::send_file_some(connection.socket(), body.file()->descriptor(), body.next_offset(), count, ec);
  connection.shard_.counters_.sent_bytes.add(sent_bytes);
  body.take(sent_bytes);
  if (ec == asio::error::would_block || (!ec && sent_bytes < count)) {
    wait_until_writable(std::move(self));  // no room, or no more of the file: the next step says which
  } else if (ec == asio::error::eof || ec.value() == EIO) {
    connection.file_failed();
    self.reset();
  } else if (ec.value() == EINVAL || ec.value() == ENOSYS) {
    send_part_by_blocks(std::move(self), count);
  } else if (ec) {
    self.reset();  // the peer has gone
  } else if (!connection.next_is_sent_by_system()) {
    return true;
  } else {
    // Others have their turn after each part.
    connection.watch_sending(0);
    asio::post(connection.shard_.context_, bound(std::move(self), [](pointer next) { send(std::move(next)); }));
  }
  return false;
}

// Files of some file systems cannot be sent by the system.
template <class Stream>
void http_connection<Stream>::send_part_by_blocks(pointer self, std::size_t count) {
  http_connection& connection = *self;
  http_body& body = connection.current()->response.body;
  connection.watch_sending(0);
  net::async_send_file(connection.socket(), connection.buffers(), body.file()->descriptor(), body.next_offset(), count,
                       bound(std::move(self), [](pointer next, asio::error_code ec, std::size_t bytes) {
                         next->shard_.counters_.sent_bytes.add(bytes);
                         next->current()->response.body.take(bytes);
                         if (ec == asio::error::eof || ec.value() == EIO) return next->file_failed();
                         if (!ec) send(std::move(next));
                       }));
}

// As large as what will be put into it.
template <class Stream>
std::size_t http_connection<Stream>::block_bytes_wanted() const {
  const active& now = *current();
  const std::size_t head = now.head_written ? 0 : head_bytes(now.response);
  std::uint64_t body = 0;
  if (!is_without_body() && !next_is_sent_by_system()) body = now.response.body.left();
  // Of what is left, so that many have some.
  const concurrent_pool& pool = shard_.shared_.buffers;
  const std::size_t most = pool.has_waiters()
                               ? output_bytes_when_short
                               : std::clamp(pool.available_bytes() / 8, output_bytes_when_short, output_bytes_max);
  const std::uint64_t wanted = std::min<std::uint64_t>(head + body, std::max(most, head));
  return std::min(static_cast<std::size_t>(wanted), shard_.shared_.buffers.block_bytes_max());
}

template <class Stream>
bool http_connection<Stream>::take_output_block() {
  concurrent_pool& pool = buffers();
  if (pool.has_waiters()) return false;
  current()->output = pool.try_acquire(block_bytes_wanted());
  if (current()->output) current()->output.resize(0);
  return static_cast<bool>(current()->output);
}

template <class Stream>
std::size_t http_connection<Stream>::file_bytes_next(std::size_t room) const {
  return static_cast<std::size_t>(std::min<std::uint64_t>(current()->response.body.next_count(), room));
}

// Head, texts and parts of the file, as far as the block goes.
template <class Stream>
auto http_connection<Stream>::fill() -> filled {
  active& now = *current();
  http_body& body = now.response.body;
  std::size_t at = now.output.size();
  const std::span<std::byte> block = now.output.prepare();
  if (!std::exchange(now.head_written, true)) {
    at += write_head(block, now.response, {shard_.clock_.now(), now.closes, now.request.minor_version() == 0});
  }
  filled result = filled::yes;
  while (!is_without_body() && body.left() != 0 && at != block.size() && !next_is_sent_by_system()) {
    const std::size_t count = file_bytes_next(block.size() - at);
    if (body.next_is_text()) {
      std::memcpy(block.data() + at, body.next_text().data(), count);
    } else {
      const http_file::read_status status = body.file()->read_now(block.subspan(at, count), body.next_offset());
      if (status != http_file::read_status::all) {
        result = status == http_file::read_status::cold ? filled::cold : filled::broken;
        break;
      }
    }
    body.take(count);
    at += count;
  }
  now.output.commit(at);
  return result;
}

template <class Stream>
void http_connection<Stream>::wait_for_block(pointer self) {
  http_connection& connection = *self;
  // Requests that came together with this one: whoever waits holds nothing.
  connection.drop_input();
  const std::size_t bytes = connection.block_bytes_wanted();
  wait_for_memory(std::move(self), bytes, [](pointer next, asio::error_code ec, buffer granted) {
    if (ec) return refuse_for_memory(std::move(next));
    next->phase_ = phase::working;
    granted.resize(0);
    next->current()->output = std::move(granted);
    send(std::move(next));
  });
}

// `step(self, ec, block)`, with operation_aborted when none came in time.
template <class Stream>
template <class Step>
void http_connection<Stream>::wait_for_memory(pointer self, std::size_t bytes, Step step) {
  http_connection& connection = *self;
  if (connection.shard_.aborting_) return;  // it comes home from another thread: nobody would end its wait
  if (connection.current() != nullptr) connection.current()->watched = false;
  connection.expires_after(phase::waiting, connection.shard_.shared_.options.limits.memory_timeout);
  net::async_acquire(connection.buffers(), bytes,
                     asio::bind_cancellation_slot(
                         connection.memory_wait_.slot(),
                         asio::bind_executor(connection.socket().get_executor(), bound(std::move(self), step))));
}

// There is no memory to say so: where the socket takes it, it is said from here. What has begun, or would have to be
// encrypted, just ends.
template <class Stream>
void http_connection<Stream>::refuse_for_memory(pointer self) {
  http_connection& connection = *self;
  if (connection.shard_.aborting_) return;
  connection.shard_.counters_.answers[5].add();
  if constexpr (plain) {
    if (connection.current() != nullptr && connection.current()->head_written) return;
    const ::ssize_t sent = ::send(connection.socket().native_handle(), unavailable_answer.data(),
                                  unavailable_answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<::ssize_t>(unavailable_answer.size())) close_gracefully(std::move(self));
  }
}

template <class Stream>
void http_connection<Stream>::drop_input() noexcept {
  active& now = *current();
  if (!now.input) return;
  now.input.release();
  now.input_from = 0;
  now.closes = true;
}

// The peer is to take something. Watched from the first time on, whatever the steps it is sent in: a byte now and then
// does not keep a connection.
template <class Stream>
void http_connection<Stream>::watch_sending(std::size_t held_bytes) {
  active& now = *current();
  phase_ = phase::sending;
  now.held_bytes = held_bytes;
  if (std::exchange(now.watched, true)) return;
  now.acknowledged_before.reset();
  now.stalled = {};
  deadline_.expires_after(watch_time());
}

template <class Stream>
std::chrono::seconds http_connection<Stream>::watch_time() const noexcept {
  return std::min(idle_time(), shard_.shared_.options.limits.memory_timeout);
}

// Looked at every watch_time(). The first look only tells where the peer is: most answers are gone before that, and
// need no system call for it.
template <class Stream>
bool http_connection<Stream>::is_taken_fast_enough() noexcept {
  active& now = *current();
  const std::chrono::seconds time = watch_time();
  const std::uint64_t acknowledged = acknowledged_bytes(socket().native_handle());
  const std::optional<std::uint64_t> before = std::exchange(now.acknowledged_before, acknowledged);
  if (!before) return true;
  const std::uint64_t taken = acknowledged - *before;
  now.stalled = taken == 0 ? now.stalled + time : time.zero();
  if (now.stalled >= idle_time()) return false;
  if (!buffers().has_waiters()) return true;
  drop_input();
  if (now.held_bytes == 0) return true;
  const auto seconds = static_cast<std::uint64_t>(time.count());
  const auto idle_seconds = static_cast<std::uint64_t>(idle_time().count());
  return taken >= shard_.shared_.options.limits.answer_bytes_per_second_least * seconds &&
         taken >= now.held_bytes * seconds / idle_seconds;
}

template <class Stream>
void http_connection<Stream>::wait_until_writable(pointer self) {
  http_connection& connection = *self;
  connection.watch_sending(connection.current()->output.capacity());
  connection.socket().async_wait(tcp_connection::wait_write,
                                 bound(std::move(self), [](pointer next, asio::error_code ec) {
                                   if (!ec) send(std::move(next));
                                 }));
}

// TLS: what is in the block. It goes back as soon as it is encrypted.
template <class Stream>
void http_connection<Stream>::write_output(pointer self) {
  http_connection& connection = *self;
  connection.watch_sending(connection.current()->output.capacity());
  buffer output = std::move(connection.current()->output);
  connection.shard_.counters_.sent_bytes.add(output.size());
  net::async_write(connection.stream_, std::move(output),
                   bound(std::move(self), [](pointer next, asio::error_code ec, std::size_t) {
                     if (!ec) send(std::move(next));
                   }));
}

// Another thread reads what fill() could not: straight into the block.
template <class Stream>
void http_connection<Stream>::read_cold(pointer self) {
  http_connection& connection = *self;
  active& now = *connection.current();
  const std::size_t at = now.output.size();
  const std::span<std::byte> block = now.output.prepare();
  const std::span<std::byte> into = block.subspan(at, connection.file_bytes_next(block.size() - at));
  connection.phase_ = phase::working;
  connection.threads().run(
      connection.context(),
      [file = now.response.body.file(), into, offset = now.response.body.next_offset()] {
        return file->read(into, offset);
      },
      [self = std::move(self), at, count = into.size()](const std::exception_ptr&,
                                                        http_file::read_status status) mutable {
        active& again = *self->current();
        const bool whole = status == http_file::read_status::all;
        again.output.commit(whole ? at + count : at);
        if (!whole) return self->file_failed();
        again.response.body.take(count);
        send(std::move(self));
      });
}

// Another thread fetches what the system would have waited for. What the socket takes then, and soon after, is sent
// without asking again: where the system cannot say, or takes the memory away at once, that would go on for ever.
template <class Stream>
void http_connection<Stream>::warm_cold(pointer self, std::size_t count) {
  http_connection& connection = *self;
  const http_body& body = connection.current()->response.body;
  connection.phase_ = phase::working;
  connection.threads().run(
      connection.context(),
      [file = body.file(), offset = body.next_offset(), count] {
        file->warm(offset, count);
        return true;
      },
      [self = std::move(self), count](const std::exception_ptr&, bool) mutable {
        active& again = *self->current();
        again.warmed_from = again.response.body.next_offset();
        again.warmed_until = again.warmed_from + count;
        again.warmed_at = std::chrono::steady_clock::now();
        if (send_warm_part(self, count)) send(std::move(self));
      });
}

// The length of the answer has been promised: all that is left is to end the connection.
template <class Stream>
void http_connection<Stream>::file_failed() const {
  spdlog::warn("{:?} became shorter, or unreadable, while it was sent to {}: the connection ends",
               state_->response.body.file()->name(), peer().to_string());
}

}  // namespace slabbuf::examples
