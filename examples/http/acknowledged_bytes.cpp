// SPDX-License-Identifier: MIT
#include "http/acknowledged_bytes.hpp"

// Not <netinet/tcp.h>, whose tcp_info ends before what is asked for here.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace slabbuf::examples {

std::uint64_t acknowledged_bytes(int socket) noexcept {
  struct ::tcp_info info {};
  ::socklen_t size = sizeof info;
  return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_acked : 0;
}

}  // namespace slabbuf::examples
