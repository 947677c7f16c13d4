// SPDX-License-Identifier: MIT
// How large a block the next read of a connection takes: learnt from what the reads before it brought.
// Threads: that of its connection.
// Lifetime: as the connection; a read that was given it uses it until its handler is called.
//
// After Netty's AdaptiveRecvByteBufAllocator: a read that fills its block makes the next one four steps larger, two
// small ones in a row make it one step smaller (Netty's need not follow each other); a step is a factor of two, and
// small is half of it or less. A connection that sends little holds little, one that sends much is soon read in few
// calls.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace slabbuf::net {
namespace detail {

/// What was learnt, without the bounds: four bytes, for which a socket has room.
class learnt_read_size {
 public:
  static constexpr std::size_t limit = std::size_t{1} << 30;

  /// `first` is at most `limit`, and so are the bounds.
  explicit learnt_read_size(std::size_t first) noexcept : word_(static_cast<std::uint32_t>(first)) {}

  std::size_t next() const noexcept { return word_ & ~was_small; }

  void note(std::size_t received, std::size_t offered, std::size_t bytes_min, std::size_t bytes_max) noexcept {
    const std::size_t now = next();
    if (received >= offered) {
      if (offered < now) return;  // memory was short, which says nothing of the peer
      *this = learnt_read_size(std::clamp(now << steps_up, bytes_min, bytes_max));
    } else if (received > now / 2) {
      word_ &= ~was_small;
    } else if ((word_ & was_small) != 0) {
      *this = learnt_read_size(std::max(now / 2, bytes_min));
    } else {
      word_ |= was_small;
    }
  }

 private:
  static constexpr int steps_up = 4;
  static constexpr std::uint32_t was_small = std::uint32_t{1} << 31;  // the read before: two in a row are a step

  std::uint32_t word_;
};

static_assert(sizeof(learnt_read_size) == 4);

}  // namespace detail

class read_size {
 public:
  static constexpr std::size_t bytes_min_default = 256;
  static constexpr std::size_t first_default = 2048;
  static constexpr std::size_t bytes_max_default = std::size_t{64} << 10;

  /// Sizes in bytes; `first` is that of the first read. Put in order where they are not:
  /// 1 <= bytes_min <= first <= bytes_max <= 1 GiB.
  explicit read_size(std::size_t bytes_min = bytes_min_default, std::size_t first = first_default,
                     std::size_t bytes_max = bytes_max_default) noexcept
      : bytes_min_(clamp(bytes_min, 1, limit)),
        bytes_max_(clamp(bytes_max, bytes_min_, limit)),
        learnt_(clamp(first, bytes_min_, bytes_max_)) {}

  /// Most bytes the next read should take.
  std::size_t next() const noexcept { return learnt_.next(); }

  /// A read that could have taken `offered` bytes brought `received`.
  void note(std::size_t received, std::size_t offered) noexcept {
    learnt_.note(received, offered, bytes_min_, bytes_max_);
  }

 private:
  static constexpr std::size_t limit = detail::learnt_read_size::limit;

  static std::uint32_t clamp(std::size_t value, std::size_t low, std::size_t high) noexcept {
    return static_cast<std::uint32_t>(std::clamp(value, low, high));
  }

  std::uint32_t bytes_min_;
  std::uint32_t bytes_max_;
  detail::learnt_read_size learnt_;
};

}  // namespace slabbuf::net
