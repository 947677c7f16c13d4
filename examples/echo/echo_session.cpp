// SPDX-License-Identifier: MIT
#include "echo/echo_session.hpp"

#include "echo/echo_shard.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/buffer_chain.hpp>

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
namespace {

// From accepting a connection to the end of its handshake, however many bytes come meanwhile.
constexpr std::chrono::milliseconds handshake_timeout{10'000};

// What a peer has to answer our close_notify with its own.
constexpr std::chrono::milliseconds close_timeout{1'000};

}  // namespace

template <class Stream>
echo_session<Stream>::echo_session(echo_shard& shard, Stream stream)
    : shard_(shard), stream_(std::move(stream)), deadline_(shard.deadlines_, expire{this}) {
  deadline_.expires_after(is_tls ? std::min(handshake_timeout, shard.patience()) : shard.patience());
  shard_.session_began();
}

template <class Stream>
echo_session<Stream>::~echo_session() {
  shard_.session_ended();
}

template <class Stream>
void echo_session<Stream>::start(std::unique_ptr<echo_session> self) {
  if constexpr (is_tls) {
    echo_session& session = *self;
    session.stream_.async_handshake(
        Stream::server, net::bind_pool(session.shard_.handlers_, [self = std::move(self)](asio::error_code ec) mutable {
          if (ec) return;
          self->deadline_.expires_after(self->shard_.patience());
          read(std::move(self));
        }));
  } else {
    read(std::move(self));
  }
}

template <class Stream>
void echo_session<Stream>::read(std::unique_ptr<echo_session> self) {
  echo_session& session = *self;
  echo_shard& shard = session.shard_;
  session.stage_ = stage::waiting;
  net::async_read_some(
      session.stream_, shard.shared_.buffers,
      net::bind_pool(shard.handlers_, [self = std::move(self)](asio::error_code ec, buffer received) mutable {
        on_read(std::move(self), ec, std::move(received));
      }));
}

template <class Stream>
void echo_session<Stream>::on_read(std::unique_ptr<echo_session> self, asio::error_code ec, buffer received) {
  if (ec && ec != asio::error::no_buffer_space) return finish(std::move(self), ec);
  if (std::exchange(self->stage_, stage::busy) == stage::closing) {
    self->deadline_.expires_after(self->shard_.patience());  // bytes came in the last moment
  }
  if (ec) return wait_for_budget(std::move(self));
  self->shard_.counters_.received_bytes.add(received.size());
  write(std::move(self), std::move(received));
}

// Bytes have arrived and there is no room for them: they stay in the socket until it is this session's turn.
template <class Stream>
void echo_session<Stream>::wait_for_budget(std::unique_ptr<echo_session> self) {
  echo_session& session = *self;
  echo_shard& shard = session.shard_;
  session.deadline_.restart();
  net::async_acquire(
      shard.shared_.buffers, std::min(net::read_bytes_default, shard.shared_.buffers.block_bytes_max()),
      asio::bind_executor(
          session.stream_.get_executor(),
          net::bind_pool(shard.handlers_, [self = std::move(self)](asio::error_code ec, buffer granted) mutable {
            if (!ec) read_into(std::move(self), std::move(granted));
          })));
}

template <class Stream>
void echo_session<Stream>::read_into(std::unique_ptr<echo_session> self, buffer granted) {
  echo_session& session = *self;
  if constexpr (is_tls) granted.clear_on_release();  // what comes was secret on its way
  const std::span<std::byte> room = granted.prepare();
  session.stream_.async_read_some(
      asio::buffer(room.data(), room.size()),
      net::bind_pool(session.shard_.handlers_, [self = std::move(self), granted = std::move(granted)](
                                                   asio::error_code ec, std::size_t received) mutable {
        granted.commit(received);
        on_read(std::move(self), ec, std::move(granted));
      }));
}

template <class Stream>
void echo_session<Stream>::write(std::unique_ptr<echo_session> self, buffer data) {
  if constexpr (is_tls) {
    write_all(std::move(self), std::move(data));
  } else {
    // The socket has room nearly always: then there is nothing to wait for, and no turn of the loop to take.
    asio::error_code ec;
    const std::size_t sent_bytes = self->stream_.write_some(asio::buffer(std::as_const(data).data(), data.size()), ec);
    if (sent_bytes == data.size()) {
      data.release();
      return on_written(std::move(self), sent_bytes);
    }
    if (ec && ec != asio::error::would_block) return;
    self->shard_.counters_.sent_bytes.add(sent_bytes);
    buffer_chain rest;
    rest.append(std::move(data));
    rest.consume(sent_bytes);
    write_all(std::move(self), std::move(rest));
  }
}

template <class Stream>
template <class Data>
void echo_session<Stream>::write_all(std::unique_ptr<echo_session> self, Data data) {
  echo_session& session = *self;
  session.deadline_.restart();
  net::async_write(session.stream_, std::move(data),
                   net::bind_pool(session.shard_.handlers_,
                                  [self = std::move(self)](asio::error_code ec, std::size_t sent_bytes) mutable {
                                    if (!ec) return on_written(std::move(self), sent_bytes);
                                    self->shard_.counters_.sent_bytes.add(sent_bytes);
                                  }));
}

template <class Stream>
void echo_session<Stream>::on_written(std::unique_ptr<echo_session> self, std::size_t sent_bytes) {
  self->shard_.counters_.sent_bytes.add(sent_bytes);
  self->deadline_.restart();
  read(std::move(self));
}

// A read ended with an error. After the peer's last byte everything it sent has been echoed: a write ends before the
// next read. A peer of TLS is told that this was all.
template <class Stream>
void echo_session<Stream>::finish(std::unique_ptr<echo_session> self, asio::error_code ec) {
  if constexpr (is_tls) {
    echo_session& session = *self;
    const bool is_closed = !session.stream_.lowest_layer().is_open();
    if (is_closed || (ec != asio::error::eof && session.stage_ != stage::closing)) return;
    session.stage_ = stage::closing;
    session.deadline_.expires_after(close_timeout);
    session.stream_.async_shutdown(
        net::bind_pool(session.shard_.handlers_, [self = std::move(self)](asio::error_code) {}));
  }
}

// Nothing came and nothing was taken for as long as the server allows.
template <class Stream>
void echo_session<Stream>::on_deadline() {
  if (shard_.aborting_ || stage_ == stage::handshake || stage_ == stage::closing) return abort();
  // A peer that is slow to take its answer has the time to do so, when the server drains as well.
  const bool may_stay = shard_.draining_ ? stage_ == stage::busy : shard_.shared_.options.idle_timeout.count() == 0;
  if (may_stay || takes_bytes()) return deadline_.restart();
  close();
}

// Whether the peer has taken bytes since this was last asked. A system call.
template <class Stream>
bool echo_session<Stream>::takes_bytes() noexcept {
  // What the kernel still has to send: one write ends long after a slow peer has begun to take it.
  int unsent_bytes = 0;
  if (::ioctl(stream_.lowest_layer().native_handle(), SIOCOUTQ, &unsent_bytes) != 0) return false;
  return std::exchange(unsent_bytes_, unsent_bytes) != unsent_bytes;
}

// Ends the read that waits, so that the session says goodbye; or, where there is none to say, whatever it does.
template <class Stream>
void echo_session<Stream>::close() noexcept {
  if (!is_tls || stage_ != stage::waiting) return abort();
  stage_ = stage::closing;
  deadline_.expires_after(close_timeout);
  asio::error_code ignored;
  stream_.lowest_layer().cancel(ignored);
}

// Ends every operation with an error, so that the session dies.
template <class Stream>
void echo_session<Stream>::abort() noexcept {
  asio::error_code ignored;
  stream_.lowest_layer().close(ignored);
}

template class echo_session<tcp_connection>;
template class echo_session<echo_tls_stream>;

}  // namespace slabbuf::examples
