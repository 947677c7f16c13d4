// SPDX-License-Identifier: MIT
// One system call on a socket, now: what the operations do between two waits.
// Threads: as the socket.
// Lifetime: nothing is kept.
//
// MSG_DONTWAIT, whatever mode the socket is in (Asio's first wait makes the descriptor non-blocking, unseen
// by basic_socket::non_blocking()). MSG_NOSIGNAL:
// a peer that has gone is an error_code, not a signal.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <asio/error.hpp>

#include <cerrno>
#include <cstddef>
#include <span>

namespace slabbuf::net::detail {

/// Receives what is there into these parts, at least one; one system call. Bytes received, or 0 and in `ec`:
/// would_block when nothing is there yet, eof when the peer has closed its side, else the system's error.
inline std::size_t receive_now(int descriptor, std::span<::iovec> into, asio::error_code& ec) noexcept {
  ::msghdr message{};
  message.msg_iov = into.data();
  message.msg_iovlen = into.size();
  for (;;) {
    // A single part takes the shorter way through the kernel.
    const ::ssize_t received = into.size() == 1
                                   ? ::recv(descriptor, into.front().iov_base, into.front().iov_len, MSG_DONTWAIT)
                                   : ::recvmsg(descriptor, &message, MSG_DONTWAIT);
    if (received > 0) {
      ec.clear();
      return static_cast<std::size_t>(received);
    }
    if (received == 0) {
      ec = asio::error::eof;
      return 0;
    }
    if (errno == EINTR) continue;
    ec.assign(errno == EAGAIN ? EWOULDBLOCK : errno, asio::error::get_system_category());
    return 0;
  }
}
inline std::size_t receive_now(int descriptor, std::span<std::byte> into, asio::error_code& ec) noexcept {
  ::iovec part{into.data(), into.size()};
  return receive_now(descriptor, std::span(&part, 1), ec);
}

/// Sends what the socket takes of these parts, at least one, without waiting; one system call. Returns the bytes
/// taken, fewer than there are when the socket is full; `ec` is would_block when it takes none.
inline std::size_t send_now(int descriptor, std::span<::iovec> from, asio::error_code& ec) noexcept {
  ::msghdr message{};
  message.msg_iov = from.data();
  message.msg_iovlen = from.size();
  for (;;) {
    // A single part takes the shorter way through the kernel.
    const ::ssize_t sent =
        from.size() == 1 ? ::send(descriptor, from.front().iov_base, from.front().iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                         : ::sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      ec.clear();
      return static_cast<std::size_t>(sent);
    }
    if (errno == EINTR) continue;
    ec.assign(errno == EAGAIN ? EWOULDBLOCK : errno, asio::error::get_system_category());
    return 0;
  }
}

}  // namespace slabbuf::net::detail
