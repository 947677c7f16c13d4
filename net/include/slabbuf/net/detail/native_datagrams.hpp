// SPDX-License-Identifier: MIT
// Many datagrams in one system call, now: what udp_batch does between two waits.
// Threads: as the socket.
// Lifetime: nothing is kept.
//
// MSG_DONTWAIT, whatever mode the socket is in; see native_io.hpp.
#pragma once

#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <asio/error.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace slabbuf::net::detail {

/// Most datagrams one system call moves (UIO_MAXIOV of the kernel).
inline constexpr std::size_t datagrams_per_call_max = 1024;

/// Receives what is there into `into`, from the front. The number of datagrams; 0 and in `ec`: would_block when
/// there is none, else the socket's error. An error that comes after a datagram is kept by the system for the
/// next call.
inline std::size_t receive_datagrams_now(int descriptor, std::span<::mmsghdr> into, asio::error_code& ec) noexcept {
  for (;;) {
    const int count = ::recvmmsg(descriptor, into.data(), static_cast<unsigned>(into.size()), MSG_DONTWAIT, nullptr);
    if (count >= 0) {
      ec.clear();
      return static_cast<std::size_t>(count);
    }
    if (errno == EINTR) continue;
    ec.assign(errno == EAGAIN ? EWOULDBLOCK : errno, asio::error::get_system_category());
    return 0;
  }
}

/// Sends as many as the socket takes in one call, from the front. The number of datagrams; 0 and in `ec`:
/// would_block when there is no room for the first, else why the system refuses the first. After some, but not
/// all, call again to learn why.
inline std::size_t send_datagrams_now(int descriptor, std::span<::mmsghdr> from, asio::error_code& ec) noexcept {
  for (;;) {
    const int count =
        ::sendmmsg(descriptor, from.data(), static_cast<unsigned>(from.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      ec.clear();
      return static_cast<std::size_t>(count);
    }
    if (errno == EINTR) continue;
    ec.assign(errno == EAGAIN ? EWOULDBLOCK : errno, asio::error::get_system_category());
    return 0;
  }
}

/// How many datagrams the socket has dropped in its life, for want of room or for a checksum that did not match
/// while they were being received; none where the system does not say.
inline std::optional<std::uint32_t> dropped_datagrams(int descriptor) noexcept {
  std::array<std::uint32_t, SK_MEMINFO_VARS> counts{};
  ::socklen_t bytes = sizeof(counts);
  if (::getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, counts.data(), &bytes) != 0) return std::nullopt;
  if (bytes <= SK_MEMINFO_DROPS * sizeof(std::uint32_t)) return std::nullopt;
  return counts[SK_MEMINFO_DROPS];
}

/// A number no other socket has had since the system was started; 0 where it does not say.
inline std::uint64_t socket_cookie(int descriptor) noexcept {
  std::uint64_t cookie = 0;
  ::socklen_t bytes = sizeof(cookie);
  return ::getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

}  // namespace slabbuf::net::detail
