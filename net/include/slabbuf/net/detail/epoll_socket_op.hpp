// SPDX-License-Identifier: MIT
// Reads and writes some of a buffer sequence of the caller's: what makes an epoll_socket a stream of Asio's.
// Threads: as the socket.
// Lifetime: as of Asio's operations: socket and buffers must live until the handler is called.
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/buffer_parts.hpp>
#include <slabbuf/net/detail/native_io.hpp>

#include <sys/uio.h>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace slabbuf::net::detail {

/// Receives, once there is something.
struct epoll_receive {
  using buffer_type = asio::mutable_buffer;
  static constexpr bool waits_first = true;
  static constexpr auto readiness = asio::socket_base::wait_read;
  static std::size_t now(int descriptor, std::span<::iovec> parts, asio::error_code& ec) noexcept {
    return receive_now(descriptor, parts, ec);
  }
};

/// Sends, at once where there is room.
struct epoll_send {
  using buffer_type = asio::const_buffer;
  static constexpr bool waits_first = false;
  static constexpr auto readiness = asio::socket_base::wait_write;
  static std::size_t now(int descriptor, std::span<::iovec> parts, asio::error_code& ec) noexcept {
    return send_now(descriptor, parts, ec);
  }
};

template <class Action, class Socket, class Buffers, class Handler>
class epoll_socket_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  epoll_socket_op(Socket& socket, const Buffers& buffers, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_total_cancellation()),
        buffers_(buffers) {}

  /// The handler is never called from in here.
  static void start(epoll_socket_op&& op) {
    if (asio::buffer_size(op.buffers_) != 0 && (Action::waits_first || op.is_blocked())) return wait(std::move(op));
    Socket& socket = op.io_object();
    asio::post(socket.get_executor(), std::move(op));
  }

  /// There was nothing to wait for.
  void operator()() { this->complete(ec_, bytes_); }

  /// The socket is ready, or the wait failed.
  void operator()(asio::error_code ec) {
    ec_ = !ec && this->closed() ? asio::error::operation_aborted : ec;
    if (!ec_ && is_blocked()) {
      if (!this->ended()) return wait(std::move(*this));
      ec_ = asio::error::operation_aborted;
    }
    this->complete(ec_, bytes_);
  }

 private:
  static void wait(epoll_socket_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Action::readiness, std::move(op));
  }

  bool is_blocked() {
    ::iovec parts[gather_max];
    const std::size_t count = parts_of<typename Action::buffer_type>(buffers_, parts);
    bytes_ = Action::now(this->descriptor(), {parts, count}, ec_);
    return ec_ == asio::error::would_block;
  }

  Buffers buffers_;
  std::size_t bytes_ = 0;
  asio::error_code ec_;
};

}  // namespace slabbuf::net::detail
