// SPDX-License-Identifier: MIT
// How large a block the next read of a connection takes: learnt from what the reads before it brought.
// Threads: that of its connection.
// Lifetime: as the connection; a read that was given it uses it until its handler is called.
//
// Netty's AdaptiveRecvByteBufAllocator: a read that fills its block makes the next one four steps larger, two
// small ones in a row make it one step smaller; a step is a factor of two. A connection that sends little
// holds little, one that sends much is soon read in few calls.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace slabbuf::net {

class read_size {
 public:
  /// Sizes in bytes; `first` is that of the first read. Put in order where they are not:
  /// 1 <= bytes_min <= first <= bytes_max <= 1 GiB.
  explicit read_size(std::size_t bytes_min = 256, std::size_t first = 2048, std::size_t bytes_max = 64 << 10) noexcept
      : bytes_min_(clamp(bytes_min, 1, limit)),
        bytes_max_(clamp(bytes_max, bytes_min_, limit)),
        next_(clamp(first, bytes_min_, bytes_max_)) {}

  /// Most bytes the next read should take.
  std::size_t next() const noexcept { return next_; }

  /// A read that could have taken `offered` bytes brought `received`.
  void note(std::size_t received, std::size_t offered) noexcept {
    if (received >= offered) {
      next_ = clamp(std::size_t{next_} << steps_up, bytes_min_, bytes_max_);
      was_small_ = false;
    } else if (received > next_ / 2) {
      was_small_ = false;
    } else if (was_small_) {
      next_ = std::max(next_ / 2, bytes_min_);
      was_small_ = false;
    } else {
      was_small_ = true;
    }
  }

 private:
  static constexpr std::size_t limit = std::size_t{1} << 30;
  static constexpr int steps_up = 4;

  static std::uint32_t clamp(std::size_t value, std::size_t low, std::size_t high) noexcept {
    return static_cast<std::uint32_t>(std::clamp(value, low, high));
  }

  std::uint32_t bytes_min_;
  std::uint32_t bytes_max_;
  std::uint32_t next_;
  bool was_small_ = false;
};

}  // namespace slabbuf::net
