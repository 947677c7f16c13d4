// SPDX-License-Identifier: MIT
// A read-only view of part of a block that keeps the block: as many as wanted of the same block, 32 bytes
// each, and nothing is counted while there is just one.
// Threads: one slice, one thread at a time. Slices and the buffer of one block of a concurrent_pool may live
// and die on different threads; those of a local_pool stay on its thread.
// Lifetime: the pool must outlive it. The block goes back with its last owner, so a slice of 10 bytes may pin
// 1 MiB against the budget: pinned_bytes() says so, compact() ends it. Pointers and spans into it are good for as
// long as any owner of the block lives.
//
//     block   |............|=== data(), size() ===|.................|
//             |<----------------- pinned_bytes() ------------------>|
//
// A slice of no bytes owns nothing. Sharing is explicit: a slice moves, and does not copy.
#pragma once

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/detail/block_owner.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace slabbuf {

class shared_slice {
 public:
  /// No bytes.
  shared_slice() noexcept = default;

  /// All of size() of a buffer that is given away. A buffer without bytes gives its block back.
  shared_slice(buffer&& from) noexcept;

  shared_slice(shared_slice&& other) noexcept : part_(std::exchange(other.part_, {})) {}
  shared_slice& operator=(shared_slice&& other) noexcept {
    if (this != &other) {
      release();
      part_ = std::exchange(other.part_, {});
    }
    return *this;
  }
  ~shared_slice() { release(); }

  /// Another view of the same bytes. Throws std::bad_alloc when there is no memory for the count of
  /// owners, which a slab gets when one of its blocks is first shared: then nothing has changed.
  [[nodiscard]] shared_slice share() { return share(0, size()); }

  /// Another view of `count` of the bytes, from `position` on. Throws std::out_of_range when they are not in
  /// size(), and as share().
  [[nodiscard]] shared_slice share(std::size_t position, std::size_t count);

  /// A copy of the bytes in a block of their own, of the smallest class of the same pool that fits. Throws
  /// budget_exceeded, acquire_failed (pool_options.hpp).
  [[nodiscard]] shared_slice clone() const;

  /// Keeps the first `count` bytes. Throws std::out_of_range when `count` is above size().
  void trim(std::size_t count) {
    if (count > part_.length) [[unlikely]]
      detail::throw_beyond("shared_slice::trim", count, part_.length);
    part_.length = static_cast<std::uint32_t>(count);
    if (count == 0) release();
  }

  /// Drops the first `count` bytes. Throws std::out_of_range when `count` is above size().
  void trim_front(std::size_t count) {
    if (count > part_.length) [[unlikely]]
      detail::throw_beyond("shared_slice::trim_front", count, part_.length);
    part_.offset += static_cast<std::uint32_t>(count);
    part_.length -= static_cast<std::uint32_t>(count);
    if (part_.length == 0) release();
  }

  /// The bytes; null when there are none.
  const std::byte* data() const noexcept { return part_.data(); }
  std::size_t size() const noexcept { return part_.length; }
  bool empty() const noexcept { return part_.length == 0; }
  std::span<const std::byte> span() const noexcept { return part_.span(); }

  /// Lets go of the block, which goes back when nobody else owns it. No bytes are left; harmless when there
  /// were none.
  void release() noexcept {
    if (part_.block == nullptr) return;
    part_.release();
    part_ = {};
  }

  /// Whether nobody else owns the block; false when there is none. While there are others, they may be
  /// leaving: only true stays as it is.
  bool unique() const noexcept { return part_.block != nullptr && part_.is_alone(); }

  /// Capacity in bytes of the block that this slice keeps from its pool; 0 when there are no bytes.
  std::size_t pinned_bytes() const noexcept { return part_.capacity; }

  /// Moves the bytes to a block of the smallest class that fits where that is smaller, and lets go of the large
  /// one. Returns whether it did. Throws as clone(), and has changed nothing then.
  bool compact();

 private:
  friend class buffer;
  friend class buffer_chain;

  explicit shared_slice(const detail::block_part& part) noexcept : part_(part) {}

  detail::block_part part_{};
};

static_assert(sizeof(shared_slice) <= 32);

}  // namespace slabbuf
