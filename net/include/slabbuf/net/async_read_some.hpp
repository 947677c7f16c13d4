// SPDX-License-Identifier: MIT
// Read with memory from a pool that is taken when bytes are there, not while waiting for them.
// Threads: as the socket: one call at a time. With a local_pool, on the pool's thread.
// Lifetime: socket and pool must live until the handler is called. The buffer belongs to whoever
// receives it; while the peer is silent the operation holds no block at all.
//
//     async_wait(readable)      holds: the operation's own few words
//     try_acquire, recv         holds: one block
//     handler(ec, buffer)       the block, with the bytes that arrived as its size() and its only
//                               written ones
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/native_io.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/net/read_size.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/async_result.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace slabbuf::net {

/// Most bytes one read takes unless told otherwise: enough for most requests in one call, and small
/// enough that a slow consumer holds little. Pools whose largest class is smaller use that.
inline constexpr std::size_t read_bytes_default = std::size_t{16} << 10;

/// Fewest bytes a read takes because the budget has no room for more; with less, it is refused.
inline constexpr std::size_t read_bytes_least = 512;

namespace detail {

/// How many bytes a read takes at most: a number, or what the connection has learnt. One word, because an idle
/// connection is little more than its read: with two, its state would take a block of the next class.
class read_limit {
 public:
  explicit read_limit(std::size_t bytes_max) noexcept : word_(bytes_max << 1 | 1) {}
  explicit read_limit(read_size& learnt) noexcept : word_(reinterpret_cast<std::uintptr_t>(&learnt)) {}

  std::size_t next(std::size_t largest) const noexcept {
    return std::min((word_ & 1) != 0 ? word_ >> 1 : learnt().next(), largest);
  }
  void note(std::size_t received, std::size_t offered) const noexcept {
    if ((word_ & 1) == 0) learnt().note(received, offered);
  }

 private:
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer or a number
  read_size& learnt() const noexcept { return *reinterpret_cast<read_size*>(word_); }

  std::uintptr_t word_;
};

inline std::size_t largest_class_within(const size_class_table& classes, std::size_t bytes) {
  std::size_t index = 0;
  while (index < classes.count() && classes.size_of(index) <= bytes) ++index;
  return index != 0 ? classes.size_of(index - 1) : 0;
}

/// A block of the size wanted, or where the budget is short the largest it has room for. None while
/// others wait for the budget: a read's turn is behind theirs.
template <class Pool>
buffer acquire_to_read(Pool& pool, const read_limit& limit) {
  if (pool.has_waiters()) return {};
  const std::size_t wanted = limit.next(pool.block_bytes_max());
  if (buffer got = pool.try_acquire(wanted)) return got;
  const std::size_t room = largest_class_within(pool.size_classes(), pool.available_bytes());
  return room < wanted && room >= read_bytes_least ? pool.try_acquire(room) : buffer();
}

template <class Socket, class Pool, class Handler>
class read_some_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  read_some_op(Socket& socket, Pool& pool, read_limit limit, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_total_cancellation()),
        pool_(&pool),
        limit_(limit) {}

  static void start(read_some_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Socket::wait_read, std::move(op));
  }

  void operator()(asio::error_code ec) {
    if (!ec && this->closed()) ec = asio::error::operation_aborted;
    if (ec) return this->complete(ec, buffer());
    buffer received = acquire_to_read(*pool_, limit_);
    if (!received) return this->complete(asio::error_code(asio::error::no_buffer_space), buffer());
    const std::size_t offered = received.size();
    received.commit(receive_now(this->descriptor(), received.prepare().first(offered), ec));
    if (!ec) {
      limit_.note(received.size(), offered);
    } else {
      received.release();
      // Readiness is a hint: another reader may have been faster, or a checksum did not match.
      if (ec == asio::error::would_block) {
        if (!this->ended()) return start(std::move(*this));
        ec = asio::error::operation_aborted;
      }
    }
    this->complete(ec, std::move(received));
  }

 private:
  Pool* pool_;
  read_limit limit_;
};

template <class Socket>
struct initiate_read_some {
  using executor_type = typename Socket::executor_type;
  executor_type get_executor() const noexcept { return socket->get_executor(); }

  template <class Handler, class Pool>
  void operator()(Handler&& handler, Pool* pool, read_limit limit) const {
    using op = read_some_op<Socket, Pool, std::decay_t<Handler>>;
    op::start(op(*socket, *pool, limit, std::forward<Handler>(handler)));
  }

  Socket* socket;
};

}  // namespace detail

/// Reads some bytes into one block of `pool`. Completes with (error_code, buffer):
///  - no error: buffer.size() is the number of bytes received, at least 1 and at most `bytes_max`
///    (at least 1; cut to the pool's largest class, and to what its budget allows one block);
///  - eof: the peer has closed its side, the buffer is empty;
///  - no_buffer_space: bytes are there, but the pool's budget has no room for a block of at least
///    read_bytes_least, or others wait for it (async_acquire). They stay in the socket, and a later call
///    gets them;
///  - operation_aborted: cancelled, or the socket was closed; or any other error of the socket.
/// Supports every type of cancellation, because nothing is taken from the socket before completion.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_some(Socket& socket, Pool& pool, Token&& token, std::size_t bytes_max = read_bytes_default) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(
      detail::initiate_read_some<detail::plain_socket_t<Socket>>{&socket}, token, &pool,
      detail::read_limit(std::max<std::size_t>(bytes_max, 1)));
}

/// The same, with a block as large as `size` says, which learns from what comes; it must live until the
/// handler is called.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_some(Socket& socket, Pool& pool, Token&& token, read_size& size) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(
      detail::initiate_read_some<detail::plain_socket_t<Socket>>{&socket}, token, &pool, detail::read_limit(size));
}

}  // namespace slabbuf::net
