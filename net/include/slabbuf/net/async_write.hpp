// SPDX-License-Identifier: MIT
// Write a buffer, a slice or a chain whose owner rides along: nobody else has to keep it alive.
// Threads: as the socket: one write at a time.
// Lifetime: the socket must live until the handler is called. The operation owns the blocks and gives each
// back as soon as the socket has taken its last byte, which is before the handler runs.
//
// The first attempt is made at once; what the socket does not take waits for readiness. The loop is its own: up
// to 64 blocks and 128 KiB a call and steps of up to 1 MiB, where asio::async_write takes 16 buffers and 64 KiB.
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/native_io.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/net/detail/write_source.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace slabbuf::net {
namespace detail {

// A peer that reads as fast as we write would keep us here to the end of a large buffer. After this
// much, other handlers have their turn: about 100 us on loopback.
inline constexpr std::size_t write_bytes_per_step = std::size_t{1} << 20;

// The kernel holds the socket for the whole of a call. Where the peer drains it meanwhile on another processor, shorter
// calls keep both at work (net_bench gather/: 1 MiB a call is slower by a third).
inline constexpr std::size_t write_bytes_per_call = std::size_t{128} << 10;

template <class Socket, class Source, class Handler>
class write_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  write_op(Socket& socket, Source&& data, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_partial_cancellation()),
        data_(std::move(data)) {}

  /// The first attempt. The handler is never called from in here.
  static void start(write_op&& op) {
    if (op.advance()) return wait(std::move(op));
    // Asio posts the completion of an empty write without a system call, with memory from the handler's
    // allocator. asio::post() would drop that allocator where the executor is an any_io_executor, and
    // go to the heap.
    Socket& socket = op.io_object();
    socket.async_write_some(asio::const_buffer(), std::move(op));
  }

  /// The first attempt settled it: this is its completion, that of the empty write.
  void operator()(asio::error_code, std::size_t) { this->complete(ec_, sent_bytes_); }

  /// The socket has room again, or the wait failed.
  void operator()(asio::error_code ec) {
    if (!ec && this->ended()) ec = asio::error::operation_aborted;
    ec_ = ec;
    if (!ec && advance()) return wait(std::move(*this));
    data_.release();
    this->complete(ec_, sent_bytes_);
  }

 private:
  static void wait(write_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Socket::wait_write, std::move(op));
  }

  // Sends what the socket takes. True when there is more to send later; else the blocks are back.
  bool advance() noexcept {
    std::size_t step_bytes = 0;
    do {
      ::iovec parts[gather_max];
      const std::size_t count = data_.gather(parts, std::min(write_bytes_per_call, write_bytes_per_step - step_bytes));
      if (count == 0) break;
      std::size_t wanted = 0;
      for (const ::iovec& each : std::span(parts, count)) wanted += each.iov_len;
      const std::size_t sent = send_now(this->descriptor(), {parts, count}, ec_);
      data_.consume(sent);
      sent_bytes_ += sent;
      step_bytes += sent;
      if (!ec_ && sent < wanted) ec_ = asio::error::would_block;  // as the next call would say
    } while (!ec_ && step_bytes < write_bytes_per_step);
    if (ec_ == asio::error::would_block || (!ec_ && !data_.empty())) return true;
    data_.release();
    return false;
  }

  Source data_;
  std::size_t sent_bytes_ = 0;
  asio::error_code ec_;
};

template <class Socket>
struct initiate_write {
  using executor_type = typename Socket::executor_type;
  executor_type get_executor() const noexcept { return socket->get_executor(); }

  template <class Handler, class Source>
  void operator()(Handler&& handler, Source&& data) const {
    using op = write_op<Socket, std::decay_t<Source>, std::decay_t<Handler>>;
    op::start(op(*socket, std::forward<Source>(data), std::forward<Handler>(handler)));
  }

  Socket* socket;
};

template <class Socket, class Source, class Token>
auto write_all(Socket& socket, Source data, Token&& token) {
  return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
      initiate_write<plain_socket_t<Socket>>{&socket}, token, std::move(data));
}

}  // namespace detail

/// Writes all size() bytes of `data`. Completes with (error_code, size_t): the bytes the socket took,
/// all of them unless there is an error. Without bytes it completes with no error and 0.
/// Errors: operation_aborted when cancelled or closed, or any error of the socket (a peer that has
/// gone is broken_pipe or connection_reset). A cancelled write may have sent a part: the stream is
/// then only good for closing. Terminal and partial cancellation end it, total cancellation does not.
template <detail::stream_socket Socket, class Token>
auto async_write(Socket& socket, buffer data, Token&& token) {
  return detail::write_all(socket, detail::buffer_source(std::move(data)), std::forward<Token>(token));
}

/// The same of a slice, which other owners may hold and send, too.
template <detail::stream_socket Socket, class Token>
auto async_write(Socket& socket, shared_slice data, Token&& token) {
  return detail::write_all(socket, detail::slice_source(std::move(data)), std::forward<Token>(token));
}

/// The same of a chain: up to 64 blocks and 128 KiB a system call, each given back as soon as the socket has taken it.
template <detail::stream_socket Socket, class Token>
auto async_write(Socket& socket, buffer_chain data, Token&& token) {
  return detail::write_all(socket, detail::chain_source(std::move(data)), std::forward<Token>(token));
}

}  // namespace slabbuf::net
