// SPDX-License-Identifier: MIT
// What a write has left to send, and who owns it: a buffer, a slice or a chain.
// Threads: as the operation.
// Lifetime: owns its blocks; moves with the operation.
//
// All have the same four: gather() names the next bytes, consume() drops what was sent, empty() says whether all
// was, release() gives everything back.
#pragma once

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace slabbuf::net::detail {

/// Parts of one system call: what Asio uses, too, and far from IOV_MAX.
inline constexpr std::size_t gather_max = 64;

/// The only part: at most `bytes_max` of `bytes`. Returns how many parts that makes.
inline std::size_t gather_one(std::span<const std::byte> bytes, ::iovec (&parts)[gather_max],
                              std::size_t bytes_max) noexcept {
  // The system's type knows no const; sending changes nothing.
  parts[0] = {const_cast<std::byte*>(bytes.data()), std::min(bytes.size(), bytes_max)};
  return bytes.empty() ? 0 : 1;
}

class buffer_source {
 public:
  explicit buffer_source(buffer&& data) noexcept : data_(std::move(data)) {}

  std::size_t gather(::iovec (&parts)[gather_max], std::size_t bytes_max) const noexcept {
    return gather_one({data_.data() + sent_, data_.size() - sent_}, parts, bytes_max);
  }
  void consume(std::size_t count) noexcept { sent_ += count; }
  bool empty() const noexcept { return sent_ == data_.size(); }
  void release() noexcept {
    data_.release();
    sent_ = 0;
  }

 private:
  buffer data_;
  std::size_t sent_ = 0;
};

class slice_source {
 public:
  explicit slice_source(shared_slice&& data) noexcept : data_(std::move(data)) {}

  std::size_t gather(::iovec (&parts)[gather_max], std::size_t bytes_max) const noexcept {
    return gather_one(data_.span(), parts, bytes_max);
  }
  void consume(std::size_t count) { data_.trim_front(count); }
  bool empty() const noexcept { return data_.empty(); }
  void release() noexcept { data_.release(); }

 private:
  shared_slice data_;
};

class chain_source {
 public:
  explicit chain_source(buffer_chain&& data) noexcept : data_(std::move(data)) {}

  std::size_t gather(::iovec (&parts)[gather_max], std::size_t bytes_max) const noexcept {
    std::size_t count = 0;
    for (const std::span<const std::byte> each : data_.spans()) {
      if (count == gather_max || bytes_max == 0) break;
      const std::size_t bytes = std::min(each.size(), bytes_max);
      parts[count++] = {const_cast<std::byte*>(each.data()), bytes};
      bytes_max -= bytes;
    }
    return count;
  }
  void consume(std::size_t count) { data_.consume(count); }
  bool empty() const noexcept { return data_.empty(); }
  void release() noexcept { data_.clear(); }

 private:
  buffer_chain data_;
};

}  // namespace slabbuf::net::detail
