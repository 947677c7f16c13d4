// SPDX-License-Identifier: MIT
// Many datagrams in one system call, now: what udp_batch does between two waits.
// Threads: as the socket.
// Lifetime: nothing is kept.
//
// MSG_DONTWAIT, whatever mode the socket is in; see native_io.hpp.
#pragma once

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <asio/error.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

/// What the kernel cuts one message into at most (UDP_MAX_SEGMENTS), and how large that may be over IPv4.
inline constexpr std::size_t segments_per_message_max = 64;
inline constexpr std::size_t message_bytes_max = 65'507;

/// Room for what the system says beside a message. The size of segments takes 24 bytes; the rest is for options the
/// program may have set.
inline constexpr std::size_t segment_control_bytes = 256;

/// Whether the kernel can cut what this socket sends (UDP_SEGMENT). One that cannot, before 4.18, ignores
/// set_sent_segment_bytes() and sends one large datagram.
inline bool knows_segments(int descriptor) noexcept {
  int bytes_now = 0;
  ::socklen_t length = sizeof(bytes_now);
  return ::getsockopt(descriptor, IPPROTO_UDP, UDP_SEGMENT, &bytes_now, &length) == 0;
}

/// From now on a message that is received may be several datagrams of one peer (UDP_GRO). False where the system
/// does not have it.
inline bool receive_segments(int descriptor) noexcept {
  const int on = 1;
  return ::setsockopt(descriptor, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0;
}

/// The size of each of the datagrams a received message is, but for the last; 0 where it is one.
inline std::size_t received_segment_bytes(::msghdr& header) noexcept {
  for (::cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
    if (each->cmsg_level != IPPROTO_UDP || each->cmsg_type != UDP_GRO) continue;
    // Where there was no room left, the kernel cuts it off in the middle.
    if (each->cmsg_len < CMSG_LEN(sizeof(int))) continue;
    int bytes = 0;
    std::memcpy(&bytes, CMSG_DATA(each), sizeof(bytes));
    return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
  }
  return 0;
}

/// Has the message that is to be sent cut into datagrams of `bytes`, and one of what is left. `room` must live as long.
inline void set_sent_segment_bytes(::msghdr& header, std::span<std::byte, segment_control_bytes> room,
                                   std::size_t bytes) noexcept {
  const auto value = static_cast<std::uint16_t>(bytes);
  header.msg_control = room.data();
  header.msg_controllen = CMSG_SPACE(sizeof(value));
  ::cmsghdr* const control = CMSG_FIRSTHDR(&header);
  control->cmsg_level = IPPROTO_UDP;
  control->cmsg_type = UDP_SEGMENT;
  control->cmsg_len = CMSG_LEN(sizeof(value));
  std::memcpy(CMSG_DATA(control), &value, sizeof(value));
}

/// Whether an error of such a message may be about the cutting: the datagrams are to be tried one by one.
/// EINVAL: they are larger than the network allows; EIO: the way out cannot do checksums.
inline bool concerns_segments(const asio::error_code& ec) noexcept {
  for (const int each : {EINVAL, EMSGSIZE, EIO, EOPNOTSUPP, ENOPROTOOPT}) {
    if (ec == asio::error_code(each, asio::error::get_system_category())) return true;
  }
  return false;
}

}  // namespace slabbuf::net::detail
