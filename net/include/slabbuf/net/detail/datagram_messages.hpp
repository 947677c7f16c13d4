// SPDX-License-Identifier: MIT
// The messages of recvmmsg and sendmmsg that the datagrams of a batch travel in: one each, or, coalescing, several
// of one peer in one (UDP_GRO, UDP_SEGMENT), which the kernel or the network card cuts.
// Threads: as the batch.
// Lifetime: as the batch; it refers to the datagrams it is called with between begin_send() and the end of that send.
//
//     datagrams   | A 200 | A 200 | A 90 | B 200 | A 5000 = 10 x 500 | - |      - owns no block
//     messages    |  490 in steps of 200 |  200  | 5000 in steps of 500  |
//
// What the system will not cut goes in messages of one datagram each, and is counted.
#pragma once

#include <slabbuf/net/detail/native_datagrams.hpp>
#include <slabbuf/net/udp_datagram.hpp>

#include <sys/socket.h>
#include <sys/uio.h>
#include <asio/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace slabbuf::net::detail {

class datagram_messages {
 public:
  /// Room for `count` messages. Throws std::bad_alloc.
  datagram_messages(std::size_t count, bool coalesce)
      : vectors_(count), headers_(count), parts_(count), controls_(coalesce ? count : 0) {}

  bool coalesces() const noexcept { return !controls_.empty(); }

  /// The message `index` will bring `datagram`, up to `bytes_max` of its block.
  void offer(std::size_t index, udp_datagram& datagram, std::size_t bytes_max) noexcept {
    vectors_[index] = {datagram.bytes.prepare().data(), bytes_max};
    ::msghdr& header = headers_[index].msg_hdr;
    header = {};
    header.msg_iov = &vectors_[index];
    header.msg_iovlen = 1;
    header.msg_name = datagram.peer.data();
    header.msg_namelen = static_cast<::socklen_t>(datagram.peer.capacity());
    if (!coalesces()) return;
    header.msg_control = controls_[index].bytes.data();
    header.msg_controllen = controls_[index].bytes.size();
  }
  std::span<::mmsghdr> offered(std::size_t index, std::size_t count) noexcept {
    return {headers_.data() + index, count};
  }

  /// What the message `index` has brought, but for the extent of its block.
  std::size_t accept(std::size_t index, udp_datagram& datagram) noexcept {
    ::mmsghdr& header = headers_[index];
    datagram.peer.resize(header.msg_hdr.msg_namelen);
    datagram.error.clear();
    datagram.sent_bytes = 0;
    datagram.segment_bytes = coalesces() ? received_segment_bytes(header.msg_hdr) : 0;
    // Without the size of its segments a message of several is nothing that could be told apart.
    const bool unknown = coalesces() && datagram.segment_bytes == 0 && (header.msg_hdr.msg_flags & MSG_CTRUNC) != 0;
    datagram.truncated = unknown || (header.msg_hdr.msg_flags & MSG_TRUNC) != 0;
    if (datagram.segment_bytes != 0 && datagram.segment_bytes < header.msg_len)
      received_ += (header.msg_len + datagram.segment_bytes - 1) / datagram.segment_bytes;
    return header.msg_len;
  }

  /// Everything of `datagrams` is to be sent.
  void begin_send(std::span<udp_datagram> datagrams) noexcept {
    lined_up_ = tried_ = next_ = sent_ = 0;
    // One peer may have refused for all of them: its path is narrow, or encrypted. So nothing is refused for ever.
    if (segment_bytes_max_ != SIZE_MAX && --sends_until_retry_ == 0) {
      segment_bytes_max_ = SIZE_MAX;
      asked_ = false;
    }
    for (udp_datagram& each : datagrams) {
      each.error.clear();
      // What was sent of something that is not what it was is nothing that was sent of it.
      const bool goes_on =
          each.is_several() && each.sent_bytes < each.bytes.size() && each.sent_bytes % each.segment_bytes == 0;
      if (!goes_on) each.sent_bytes = 0;
    }
  }

  /// Sends what the socket takes. True when there is more to send later; `ec` is what ended it otherwise.
  bool send_now(int descriptor, std::span<udp_datagram> datagrams, asio::error_code& ec) noexcept {
    ec.clear();
    for (;;) {
      if (tried_ == lined_up_ && !line_up(descriptor, datagrams)) return false;
      std::size_t count = send_datagrams_now(descriptor, {headers_.data() + tried_, lined_up_ - tried_}, ec);
      for (; count != 0; --count) settle(datagrams, tried_++);
      if (!ec) continue;
      if (ec == asio::error::would_block) return true;
      if (ec == asio::error::bad_descriptor) return false;
      refuse(datagrams, std::exchange(ec, {}));
    }
  }

  /// Of datagrams() that were to be sent, those that the socket has taken.
  std::size_t sent() const noexcept { return sent_; }

  /// Since it was made: datagrams that came, and left, with others in one message; messages that the system would
  /// not cut.
  std::uint64_t received_coalesced() const noexcept { return received_; }
  std::uint64_t sent_coalesced() const noexcept { return coalesced_; }
  std::uint64_t refused() const noexcept { return refused_; }

  /// Sends after which what was refused is tried again.
  static constexpr std::size_t sends_before_retry = 1024;

 private:
  // What one message sends.
  struct part {
    std::size_t first;          // a datagram, and
    std::size_t count;          // those that follow it
    std::size_t end_byte;       // of a datagram that needs more messages, where this one ends; 0: with the datagram
    std::size_t segments;       // datagrams on the wire
    std::size_t segment_bytes;  // of each but the last
  };
  struct alignas(::cmsghdr) control {
    std::array<std::byte, segment_control_bytes> bytes;
  };

  // Messages for what comes next, as many as there is room for. False when nothing comes.
  bool line_up(int descriptor, std::span<udp_datagram> datagrams) noexcept {
    lined_up_ = tried_ = 0;
    std::size_t vectors = 0;
    std::size_t position = next_ < datagrams.size() ? datagrams[next_].sent_bytes : 0;
    while (next_ < datagrams.size() && lined_up_ < headers_.size() && vectors < vectors_.size()) {
      udp_datagram& datagram = datagrams[next_];
      if (!datagram.bytes) {
        position = ++next_ < datagrams.size() ? datagrams[next_].sent_bytes : 0;
        continue;
      }
      const std::size_t size = datagram.bytes.size();
      const std::size_t segment = datagram.is_several() ? datagram.segment_bytes : size;
      const std::size_t segments_max = can_cut(descriptor, segment) ? segments_of(segment) : 1;
      const std::size_t taken = std::min(size - position, segments_max * segment);
      ::iovec* const first = &vectors_[vectors];
      part& mine = parts_[lined_up_];
      mine = {next_, 1, position + taken == size ? 0 : position + taken,
              segment == 0 ? 1 : (taken + segment - 1) / segment, segment};
      vectors_[vectors++] = vector_of(datagram, position, taken);
      position += taken;
      if (position == size) {
        ++next_;
        if (!datagram.is_several() && segments_max > 1) vectors += join(datagrams, segments_max, vectors);
        position = next_ < datagrams.size() ? datagrams[next_].sent_bytes : 0;
      }
      fill(headers_[lined_up_].msg_hdr, datagram, first, mine);
      ++lined_up_;
    }
    return lined_up_ != 0;
  }

  // Lets the datagrams that come next ride with the message that is being lined up, as far as they are of its peer
  // and its size; one that is shorter may be the last. Vectors it took.
  std::size_t join(std::span<udp_datagram> datagrams, std::size_t segments_max, std::size_t vectors) noexcept {
    part& mine = parts_[lined_up_];
    const udp_datagram& first = datagrams[mine.first];
    std::size_t taken = 0;
    bool shorter = false;
    for (; next_ < datagrams.size() && mine.segments < segments_max && vectors + taken < vectors_.size() && !shorter;
         ++next_) {
      const udp_datagram& datagram = datagrams[next_];
      const std::size_t size = datagram.bytes.size();
      if (size == 0 || size > mine.segment_bytes || datagram.is_several() || !same(first.peer, datagram.peer)) break;
      vectors_[vectors + taken++] = vector_of(datagram, 0, size);
      ++mine.count;
      ++mine.segments;
      shorter = size < mine.segment_bytes;
    }
    return taken;
  }

  void fill(::msghdr& header, udp_datagram& datagram, ::iovec* first, const part& mine) noexcept {
    const bool named = datagram.peer.port() != 0;
    header = {};
    header.msg_iov = first;
    header.msg_iovlen = mine.count;
    header.msg_name = named ? datagram.peer.data() : nullptr;
    header.msg_namelen = named ? static_cast<::socklen_t>(datagram.peer.size()) : 0;
    if (mine.segments > 1) set_sent_segment_bytes(header, controls_[lined_up_].bytes, mine.segment_bytes);
  }

  // The socket has taken the message.
  void settle(std::span<udp_datagram> datagrams, std::size_t message) noexcept {
    const part& mine = parts_[message];
    if (mine.segments > 1) coalesced_ += mine.segments;
    if (mine.end_byte != 0) {
      datagrams[mine.first].sent_bytes = mine.end_byte;
      return;
    }
    for (udp_datagram& each : datagrams.subspan(mine.first, mine.count)) {
      each.bytes.release();
      each.sent_bytes = 0;
    }
    sent_ += mine.count;
  }

  // It has not, and will not.
  void refuse(std::span<udp_datagram> datagrams, const asio::error_code& why) noexcept {
    const part mine = parts_[tried_];
    if (mine.segments > 1 && concerns_segments(why)) {
      // Larger than the network allows, or nobody there to cut at all: for a while without.
      const bool too_large = why == asio::error::invalid_argument || why == asio::error::message_size;
      do_not_cut_above(too_large ? mine.segment_bytes - 1 : 0);
      next_ = mine.first;
    } else {
      datagrams[mine.first].error = why;
      if (mine.count == 1 && mine.end_byte == 0) {
        ++tried_;
        return;
      }
      next_ = mine.first + 1;
    }
    lined_up_ = tried_ = 0;
  }

  bool can_cut(int descriptor, std::size_t segment) noexcept {
    if (!coalesces() || segment == 0 || segment > segment_bytes_max_ || descriptor < 0) return false;
    // A kernel that has never heard of it would send one large datagram, so it is asked first, and once.
    if (!asked_) {
      asked_ = true;
      if (!knows_segments(descriptor)) do_not_cut_above(0);
    }
    return segment_bytes_max_ != 0;
  }
  void do_not_cut_above(std::size_t segment_bytes) noexcept {
    ++refused_;
    segment_bytes_max_ = segment_bytes;
    sends_until_retry_ = sends_before_retry;
  }
  static std::size_t segments_of(std::size_t segment) noexcept {
    return std::clamp<std::size_t>(message_bytes_max / segment, 1, segments_per_message_max);
  }
  static bool same(const asio::ip::udp::endpoint& left, const asio::ip::udp::endpoint& right) noexcept {
    return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size()) == 0;
  }
  // sendmmsg() only reads.
  static ::iovec vector_of(const udp_datagram& datagram, std::size_t position, std::size_t count) noexcept {
    return {const_cast<std::byte*>(datagram.bytes.data()) + position, count};
  }

  std::vector<::iovec> vectors_;    // receiving: of the datagram of the same index; sending: as they come
  std::vector<::mmsghdr> headers_;  // the same
  std::vector<part> parts_;         // sending: of the header of the same index
  std::vector<control> controls_;   // of the header of the same index; none where it does not coalesce
  std::size_t lined_up_ = 0;        // headers of the send, of which
  std::size_t tried_ = 0;           // these were tried
  std::size_t next_ = 0;            // the datagram to line up then
  std::size_t sent_ = 0;
  std::size_t segment_bytes_max_ = SIZE_MAX;  // as far as the system has not refused lately
  std::size_t sends_until_retry_ = 0;
  bool asked_ = false;
  std::uint64_t received_ = 0;
  std::uint64_t coalesced_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace slabbuf::net::detail
