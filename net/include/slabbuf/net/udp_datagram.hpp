// SPDX-License-Identifier: MIT
// A datagram of a udp_batch; or several of one peer that share a block, where the batch coalesces.
// Threads: as its batch.
// Lifetime: as its batch; its buffer is yours.
//
//     bytes   |<-- segment_bytes -->|<-- segment_bytes -->| ... |<-- rest -->|     size()
//                  segment(0)            segment(1)               segment(count() - 1)
#pragma once

#include <slabbuf/pool/buffer.hpp>

#include <asio/error.hpp>
#include <asio/ip/udp.hpp>

#include <algorithm>
#include <cstddef>
#include <span>

namespace slabbuf::net {

struct udp_datagram {
  /// Who sent it, or whom to send it to; with port 0 that is the peer the socket is connected to.
  asio::ip::udp::endpoint peer;
  /// What came, in size(); it may be 0. What is to be sent. Where it owns no block there is nothing to send:
  /// release() it to leave a datagram unanswered.
  buffer bytes;
  /// It was larger than datagram_bytes_max: the rest is lost.
  bool truncated = false;
  /// Why the last async_send could not send it; none otherwise.
  asio::error_code error;
  /// Where it is below bytes.size(), and not 0: bytes are datagrams of so many each, the last one of what is left.
  std::size_t segment_bytes = 0;
  /// Of such datagrams the first ones, in bytes, that an async_send which was cut short has sent; the next one goes
  /// on behind them. 0 otherwise; set it to 0 when you put other bytes in.
  std::size_t sent_bytes = 0;

  /// Datagrams that the bytes are; at least 1.
  std::size_t count() const noexcept { return is_several() ? (bytes.size() + segment_bytes - 1) / segment_bytes : 1; }
  /// The bytes of one of them; `index` is below count().
  std::span<const std::byte> segment(std::size_t index) const noexcept {
    const std::span<const std::byte> all(bytes.data(), bytes.size());
    if (!is_several()) return all;
    const std::size_t position = index * segment_bytes;
    return all.subspan(position, std::min(segment_bytes, all.size() - position));
  }
  /// Whether there are more than one.
  bool is_several() const noexcept { return segment_bytes != 0 && segment_bytes < bytes.size(); }
};

}  // namespace slabbuf::net
