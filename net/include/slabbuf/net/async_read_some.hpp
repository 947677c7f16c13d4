// SPDX-License-Identifier: MIT
// Read with memory from a pool that is taken when bytes are there, not while waiting for them.
// Threads: as the socket: one call at a time. With a local_pool, on the pool's thread.
// Lifetime: socket and pool must live until the handler is called. The buffer belongs to whoever
// receives it; while the peer is silent the operation holds no block at all.
//
//     async_wait(readable)      holds: the operation's own few words
//     try_acquire, recv         holds: one block, and a second one while few bytes move from the first
//     handler(ec, buffer)       the block, with the bytes that arrived as its size() and its only
//                               written ones
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/native_io.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/net/read_size.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/size_class.hpp>

#include <asio/async_result.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace slabbuf::net {

/// Most bytes that one read of Asio's sockets or of a tls_stream takes unless told otherwise: enough for most requests
/// in one call, and for a record of TLS. Pools whose largest class is smaller use that.
inline constexpr std::size_t read_bytes_default = std::size_t{16} << 10;

/// Fewest bytes a read takes because the budget has no room for more; with less, it is refused, unless it wanted no
/// more.
inline constexpr std::size_t read_bytes_least = 512;

namespace detail {

/// Bytes in the largest block that few bytes stay in. Moving them costs more than it gives where blocks are small.
inline constexpr std::size_t block_bytes_kept = read_size::first_default;

/// How many bytes a read takes at most: a number, or what the connection has learnt. One word, because an idle
/// connection is little more than its read: with two, its state would take a block of the next class.
class read_limit {
 public:
  /// A block of so many bytes, and no other.
  explicit read_limit(std::size_t bytes_max) noexcept : word_(std::min(bytes_max, SIZE_MAX >> 2) << 2 | number) {}
  explicit read_limit(read_size& chosen) noexcept : word_(reinterpret_cast<std::uintptr_t>(&chosen) | in_size) {}
  /// That of a read nothing is said of: an epoll_socket has room to learn, others have not.
  template <class Protocol>
  static read_limit adaptive(epoll_socket<Protocol>& socket) noexcept {
    return read_limit(reinterpret_cast<std::uintptr_t>(&socket.learnt_), in_socket);
  }
  template <class Protocol, class Executor>
  static read_limit adaptive(asio::basic_stream_socket<Protocol, Executor>&) noexcept {
    return fitting();
  }
  /// read_bytes_default, of which few are delivered in a block that fits them.
  static read_limit fitting() noexcept { return read_limit(read_bytes_default << 2, fitted_number); }

  /// Bytes that the next read of blocks from `pool` wants.
  template <class Pool>
  std::size_t next(const Pool& pool) const noexcept {
    std::size_t wanted = word_ >> 2;
    if ((word_ & kind) == in_size) wanted = at<read_size>().next();
    if ((word_ & kind) == in_socket) {
      wanted = at<learnt_read_size>().next();
      // Who sends much takes at most a quarter of what is left: others are to have some, too.
      if (wanted > block_bytes_kept) wanted = std::min(wanted, std::max(pool.available_bytes() / 4, block_bytes_kept));
    }
    return std::min(wanted, pool.block_bytes_max());
  }
  void note(std::size_t received, std::size_t offered) const noexcept {
    if ((word_ & kind) == in_size) at<read_size>().note(received, offered);
    if ((word_ & kind) == in_socket) {
      at<learnt_read_size>().note(received, offered, read_size::bytes_min_default, read_size::bytes_max_default);
    }
  }
  bool fits_after() const noexcept { return (word_ & in_socket) != 0; }

 private:
  read_limit(std::uintptr_t value, std::uintptr_t kind_of_it) noexcept : word_(value | kind_of_it) {}

  static constexpr std::uintptr_t in_size = 0;
  static constexpr std::uintptr_t number = 1;
  static constexpr std::uintptr_t in_socket = 2;
  static constexpr std::uintptr_t fitted_number = 3;
  static constexpr std::uintptr_t kind = 3;

  template <class Learnt>
  Learnt& at() const noexcept {
    static_assert(alignof(Learnt) > kind);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer or a number
    return *reinterpret_cast<Learnt*>(word_ & ~kind);
  }

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
  const std::size_t wanted = limit.next(pool);
  if (buffer got = pool.try_acquire(wanted)) return got;
  const std::size_t room = largest_class_within(pool.size_classes(), pool.available_bytes());
  return room < wanted && room >= read_bytes_least ? pool.try_acquire(room) : buffer();
}

/// Moves what was received to a block for `bytes` (at least as many as there are), if that is at most a quarter of the
/// one it came in: whoever holds on to few bytes, because its peer does not take the answer, holds little. Where there
/// is no such block, or no room for it, they stay: it is only a wish, and one that the pool refused would be in its
/// statistics.
template <class Pool>
void fit(Pool& pool, buffer& received, std::size_t bytes) {
  if (received.capacity() <= block_bytes_kept) return;
  const size_class_table& classes = pool.size_classes();
  const std::size_t index = classes.find(bytes);
  if (index == size_class_table::npos) return;
  const std::size_t block_bytes = classes.size_of(index);
  if (block_bytes > received.capacity() / 4 || block_bytes > pool.available_bytes()) return;
  buffer small = pool.try_acquire(bytes);
  if (!small) return;  // another thread was faster
  if (received.clears_on_release()) small.clear_on_release();
  small.resize(received.size());
  std::memcpy(small.data(), std::as_const(received).data(), received.size());
  received = std::move(small);
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
      if (limit_.fits_after()) fit(*pool_, received, received.size());
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

/// Reads some bytes into one block of `pool`, whose size adapts to what the peer sends. An epoll_socket learns, as a
/// read_size does with its defaults: 2 KiB at first, then 256 B to 64 KiB, though above 2 KiB no more than a quarter of
/// what the budget has left. Asio's sockets have no room for that: of these read_bytes_default are read. Of both, bytes
/// that need only a quarter of the block they came in move to one that fits, where the first has more than 2 KiB.
/// Completes with (error_code, buffer):
///  - no error: buffer.size() is the number of bytes received, at least 1 (and no more than the pool's largest class,
///    or than its budget allows one block);
///  - eof: the peer has closed its side, the buffer is empty;
///  - no_buffer_space: bytes are there, but the pool's budget has no room for a block of at least
///    read_bytes_least (or of what was wanted, if that is less), or others wait for it (async_acquire). They stay in
///    the socket, and a later call gets them;
///  - operation_aborted: cancelled, or the socket was closed; or any other error of the socket.
/// Supports every type of cancellation, because nothing is taken from the socket before completion.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_some(Socket& socket, Pool& pool, Token&& token) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(
      detail::initiate_read_some<detail::plain_socket_t<Socket>>{&socket}, token, &pool,
      detail::read_limit::adaptive(socket));
}

/// The same, with at most `bytes_max` bytes (at least 1) and a block for as many, whatever comes: for whoever knows, or
/// wants the room behind the bytes.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_some(Socket& socket, Pool& pool, Token&& token, std::size_t bytes_max) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(
      detail::initiate_read_some<detail::plain_socket_t<Socket>>{&socket}, token, &pool,
      detail::read_limit(std::max<std::size_t>(bytes_max, 1)));
}

/// The same, with a block as large as `size` says, which learns from what comes and copies nothing; it must live until
/// the handler is called.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_some(Socket& socket, Pool& pool, Token&& token, read_size& size) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(
      detail::initiate_read_some<detail::plain_socket_t<Socket>>{&socket}, token, &pool, detail::read_limit(size));
}

}  // namespace slabbuf::net
