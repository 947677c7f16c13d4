// SPDX-License-Identifier: MIT
#include "echo/echo_session.hpp"

#include "echo/echo_shard.hpp"

#include <slabbuf/net/net.hpp>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

namespace slabbuf::examples {

echo_session::echo_session(echo_shard& shard, echo_socket socket)
    : shard_(shard), socket_(std::move(socket)), deadline_(shard.deadlines_, expire{this}) {
  // Without a timeout it is armed all the same: draining shortens what is armed.
  const auto timeout = shard_.shared_.options.idle_timeout;
  deadline_.expires_after(timeout == timeout.zero() ? std::chrono::hours(24) : timeout);
  shard_.session_began();
}

echo_session::~echo_session() { shard_.session_ended(); }

void echo_session::read(std::unique_ptr<echo_session> self) {
  echo_session& session = *self;
  echo_shard& shard = session.shard_;
  session.waiting_for_bytes_ = true;
  net::async_read_some(
      session.socket_, shard.shared_.buffers,
      net::bind_pool(shard.handlers_, [self = std::move(self)](asio::error_code ec, buffer received) mutable {
        on_read(std::move(self), ec, std::move(received));
      }));
}

void echo_session::on_read(std::unique_ptr<echo_session> self, asio::error_code ec, buffer received) {
  self->waiting_for_bytes_ = false;
  if (!ec || ec == asio::error::no_buffer_space) self->deadline_.restart();
  if (ec == asio::error::no_buffer_space) return wait_for_budget(std::move(self));
  // After the peer's last byte everything it sent has been echoed: a write ends before the next read.
  if (ec) return;
  write(std::move(self), std::move(received));
}

// Bytes have arrived and there is no room for them: they stay in the socket until it is this session's turn.
void echo_session::wait_for_budget(std::unique_ptr<echo_session> self) {
  echo_session& session = *self;
  echo_shard& shard = session.shard_;
  net::async_acquire(
      shard.shared_.buffers, std::min(net::read_bytes_default, shard.shared_.buffers.block_bytes_max()),
      asio::bind_executor(
          session.socket_.get_executor(),
          net::bind_pool(shard.handlers_, [self = std::move(self)](asio::error_code ec, buffer granted) mutable {
            if (!ec) read_into(std::move(self), std::move(granted));
          })));
}

void echo_session::read_into(std::unique_ptr<echo_session> self, buffer granted) {
  echo_session& session = *self;
  const std::span<std::byte> room = granted.prepare();
  session.socket_.async_read_some(
      asio::buffer(room.data(), room.size()),
      net::bind_pool(session.shard_.handlers_, [self = std::move(self), granted = std::move(granted)](
                                                   asio::error_code ec, std::size_t received) mutable {
        granted.commit(received);
        on_read(std::move(self), ec, std::move(granted));
      }));
}

void echo_session::write(std::unique_ptr<echo_session> self, buffer data) {
  echo_session& session = *self;
  net::async_write(
      session.socket_, std::move(data),
      net::bind_pool(session.shard_.handlers_, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
        if (ec) return;
        self->deadline_.restart();
        read(std::move(self));
      }));
}

// Nothing came and nothing was taken for as long as the server allows.
void echo_session::on_deadline() {
  if (shard_.aborting_) return abort();
  // A peer that is slow to take its answer has the time to do so, when the server drains as well.
  const bool may_stay = shard_.draining_ ? !waiting_for_bytes_ : shard_.shared_.options.idle_timeout.count() == 0;
  if (may_stay || takes_bytes()) return deadline_.restart();
  abort();
}

// Whether the peer has taken bytes since this was last asked. A system call.
bool echo_session::takes_bytes() noexcept {
  // What the kernel still has to send: one write ends long after a slow peer has begun to take it.
  int unsent_bytes = 0;
  if (::ioctl(socket_.native_handle(), SIOCOUTQ, &unsent_bytes) != 0) return false;
  return std::exchange(unsent_bytes_, unsent_bytes) != unsent_bytes;
}

// Ends every operation with an error, so that the session dies.
void echo_session::abort() noexcept {
  asio::error_code ignored;
  socket_.close(ignored);
}

}  // namespace slabbuf::examples
