// SPDX-License-Identifier: MIT
// A part of a file to a peer: by sendfile(2) to a socket, without a byte of it in the process; by way of pool blocks to
// everything else.
// Threads: as the stream: one write at a time. The descriptor's own position is neither used nor changed.
// Lifetime: stream, pool and descriptor must live, and stay open, until the handler is called.
//
//     socket        page cache --sendfile--> socket                    nothing of the pool
//     other stream  page cache --pread--> one block --write--> stream  waits for the budget holding nothing
//
// What is not in the page cache is read from the disk by the thread that calls: who serves large files from slow disks
// brings them into memory on another thread first (posix_fadvise, readahead, preadv2 with RWF_NOWAIT to ask).
#pragma once

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/native_file.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/error_code.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace slabbuf::net {

/// Lets the program ignore SIGPIPE, for good: it must not handle that signal any more. Then async_send_file() need not
/// keep the signal from it, which takes two system calls for each of sendfile(2). For the start of a server, before its
/// threads: any thread, once. What the program executes inherits it.
inline void ignore_sigpipe() noexcept {
  std::signal(SIGPIPE, SIG_IGN);  // cannot fail: the signal is there, and is not one of the two that stay as they are
  detail::sigpipe_is_ignored.store(true, std::memory_order_relaxed);
}

namespace detail {

/// Most of a file in one block, where the pool has blocks as large: what tls_stream sends in one call.
inline constexpr std::size_t file_block_bytes_max = std::size_t{128} << 10;

/// Bytes the system sends before others have their turn: no less than a socket has room for, which is what it takes at
/// once.
inline constexpr std::size_t send_file_bytes_per_step = std::size_t{2} << 20;

/// Part of a file that is left to be sent.
struct file_part {
  int descriptor;
  std::uint64_t offset;
  std::size_t left;
  std::size_t sent = 0;

  void advance(std::size_t count) noexcept {
    offset += count;
    left -= count;
    sent += count;
  }
};

/// Block by block, to any stream.
template <class Stream, class Pool>
class send_file_blocks {
 public:
  send_file_blocks(Stream& stream, Pool& pool, const file_part& part) noexcept
      : stream_(&stream), pool_(&pool), part_(part) {}

  /// The first step, and the last one of what must not complete within the call.
  template <class Self>
  void operator()(Self& self) {
    if (std::exchange(begun_, true)) return self.complete(ec_, part_.sent);
    self.reset_cancellation_state(asio::enable_partial_cancellation());
    part_.left == 0 ? post(self) : acquire(self);
  }

  /// A block has been waited for.
  template <class Self>
  void operator()(Self& self, asio::error_code ec, buffer block) {
    if (!ec && cancelled(self)) ec = asio::error::operation_aborted;
    ec ? self.complete(ec, part_.sent) : write(self, std::move(block));
  }

  /// A block has been written, or a part of it.
  template <class Self>
  void operator()(Self& self, asio::error_code ec, std::size_t count) {
    part_.advance(count);
    block_.release();
    if (!ec && part_.left != 0 && cancelled(self)) ec = asio::error::operation_aborted;
    ec || part_.left == 0 ? self.complete(ec, part_.sent) : acquire(self);
  }

 private:
  template <class Self>
  static bool cancelled(Self& self) noexcept {
    return self.get_cancellation_state().cancelled() != asio::cancellation_type::none;
  }

  template <class Self>
  void post(Self& self) {
    const auto executor = stream_->get_executor();
    asio::post(executor, std::move(self));
  }

  template <class Self>
  void acquire(Self& self) {
    const std::size_t bytes = std::min({part_.left, file_block_bytes_max, pool_->block_bytes_max()});
    buffer block = pool_->has_waiters() ? buffer() : pool_->try_acquire(bytes);
    block ? write(self, std::move(block)) : async_acquire(*pool_, bytes, std::move(self));
  }

  template <class Self>
  void write(Self& self, buffer block) {
    block.commit(read_file_now(part_.descriptor, part_.offset, block.prepare().first(block.size()), ec_));
    if (ec_) {
      block.release();
      return post(self);  // this may be the first step
    }
    Stream& stream = *stream_;
    if constexpr (requires { net::async_write(stream, std::move(block), std::move(self)); }) {
      net::async_write(stream, std::move(block), std::move(self));
    } else {
      block_ = std::move(block);
      const asio::const_buffer bytes(std::as_const(block_).data(), block_.size());
      asio::async_write(stream, bytes, std::move(self));
    }
  }

  Stream* stream_;
  Pool* pool_;
  file_part part_;
  buffer block_;  // while a stream that owns nothing writes it
  asio::error_code ec_;
  bool begun_ = false;
};

struct initiate_send_file_blocks {
  template <class Handler, class Stream, class Pool>
  void operator()(Handler&& handler, Stream* stream, Pool* pool, const file_part& part) const {
    asio::async_compose<Handler, void(asio::error_code, std::size_t)>(
        send_file_blocks<Stream, Pool>(*stream, *pool, part), handler, *stream);
  }
};

/// By the system, to a socket.
template <class Socket, class Pool, class Handler>
class send_file_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  send_file_op(Socket& socket, Pool& pool, const file_part& part, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_partial_cancellation()),
        pool_(&pool),
        part_(part) {}

  /// The first attempt. The handler is never called from in here.
  static void start(send_file_op&& op) {
    Socket& socket = op.io_object();
    // Asio makes the descriptor non-blocking with its first asynchronous operation; this may be the first.
    if (!socket.native_non_blocking()) socket.native_non_blocking(true, op.ec_);
    if (!op.ec_ && op.advance()) return wait(std::move(op));
    // Files of some file systems cannot be sent by the system: EINVAL, before a byte has gone.
    if (op.part_.sent == 0 && (op.ec_.value() == EINVAL || op.ec_.value() == ENOSYS) &&
        op.ec_.category() == asio::error::get_system_category())
      return initiate_send_file_blocks()(op.take_handler(), &socket, op.pool_, op.part_);
    socket.async_write_some(asio::const_buffer(), std::move(op));  // posts the completion: see write_op
  }

  void operator()(asio::error_code, std::size_t) { this->complete(ec_, part_.sent); }

  /// The socket has room again, or the wait failed.
  void operator()(asio::error_code ec) {
    if (!ec && this->ended()) ec = asio::error::operation_aborted;
    ec_ = ec;
    if (!ec && advance()) return wait(std::move(*this));
    this->complete(ec_, part_.sent);
  }

 private:
  static void wait(send_file_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Socket::wait_write, std::move(op));
  }

  // Sends what the socket takes. True when there is more to send later.
  bool advance() noexcept {
    std::size_t step_bytes = 0;
    while (part_.left != 0 && step_bytes < send_file_bytes_per_step) {
      const std::size_t count = std::min(part_.left, send_file_bytes_per_step - step_bytes);
      const std::size_t sent = send_file_now(this->descriptor(), part_.descriptor, part_.offset, count, ec_);
      if (ec_) return ec_ == asio::error::would_block;
      part_.advance(sent);
      step_bytes += sent;
      if (sent < count) break;  // no room, or no more of the file: the call after the wait says which
    }
    return part_.left != 0;
  }

  Pool* pool_;
  file_part part_;
  asio::error_code ec_;
};

struct initiate_send_file {
  template <class Handler, class Socket, class Pool>
  void operator()(Handler&& handler, Socket* socket, Pool* pool, const file_part& part) const {
    using op = send_file_op<Socket, Pool, std::decay_t<Handler>>;
    op::start(op(*socket, *pool, part, std::forward<Handler>(handler)));
  }
};

}  // namespace detail

/// Sends `count` bytes of the open file `descriptor` from byte `offset` on. Completes with (error_code, size_t): the
/// bytes the stream took, all of them unless there is an error. Without bytes it completes with no error and 0.
/// Errors: eof when the file has fewer bytes than that, which may be because it shrank meanwhile; operation_aborted
/// when cancelled; what reading the file or writing to the stream says (a peer that has gone is broken_pipe or
/// connection_reset, and no SIGPIPE). A cancelled operation may have sent a part. Terminal and partial cancellation
/// end it, total cancellation does not.
/// To a socket, blocks of `pool` are taken only for files that sendfile(2) cannot send.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_send_file(Socket& socket, Pool& pool, int descriptor, std::uint64_t offset, std::size_t count,
                     Token&& token) {
  return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
      detail::initiate_send_file(), token, static_cast<detail::plain_socket_t<Socket>*>(&socket), &pool,
      detail::file_part{descriptor, offset, count});
}

/// The same to any AsyncWriteStream, tls_stream among them: through blocks of up to 128 KiB of `pool`, one at a time.
/// Where the budget is short it waits for its turn (async_acquire), holding nothing; no_buffer_space when no budget
/// will ever do.
template <class Stream, buffer_pool Pool, class Token>
auto async_send_file(Stream& stream, Pool& pool, int descriptor, std::uint64_t offset, std::size_t count,
                     Token&& token) {
  return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
      detail::initiate_send_file_blocks(), token, &stream, &pool, detail::file_part{descriptor, offset, count});
}

/// Sends what a non-blocking socket takes now of those bytes, without waiting for it: for a program that looks whether
/// they are in memory before each step, as a slow peer may take minutes between two. For the disk it waits. Returns the
/// bytes taken. Errors, with 0: would_block; eof when the file has no more; what reading the file or writing to the
/// socket says (EINVAL for files that sendfile(2) cannot send). No SIGPIPE.
template <detail::stream_socket Socket>
std::size_t send_file_some(Socket& socket, int descriptor, std::uint64_t offset, std::size_t count,
                           asio::error_code& ec) noexcept {
  ec.clear();
  return count != 0 ? detail::send_file_now(socket.native_handle(), descriptor, offset, count, ec) : 0;
}

/// Another name for async_send_file().
template <class Stream, buffer_pool Pool, class Token>
auto send_file(Stream& stream, Pool& pool, int descriptor, std::uint64_t offset, std::size_t count, Token&& token) {
  return async_send_file(stream, pool, descriptor, offset, count, std::forward<Token>(token));
}

}  // namespace slabbuf::net
