// SPDX-License-Identifier: MIT
// A free block as the pool's lists keep it: where it is, and how much of it must be cleared; and
// the class it belongs to.
// Threads: plain values; a block_class is immutable while its pool is in use.
// Lifetime: valid while the slab of the block exists; whoever holds the word owns the block. A
// block_class lives as long as its pool.
//
// One word, so that a list of free blocks is an array of words and nothing is written into the
// block itself:
//
//     63                                       16 15            0
//     | address of the block (48 bits)           | written units |
//
// A unit is 64 bytes; 0 means known to be zero, 0xffff the whole block (more than 4 MiB - 128 B).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace slabbuf::detail {

static_assert(sizeof(void*) == 8, "free_block packs a 48-bit address: 64-bit targets only");

class pool_core;
class thread_cache;

/// What every block of one class in one pool has in common: a buffer's way home.
struct block_class {
  pool_core* pool = nullptr;
  thread_cache* cache = nullptr;       // a local_pool's only cache; null in a concurrent_pool
  std::uint64_t pool_id = 0;           // never used twice in a process
  std::size_t size = 0;                // capacity of a block in bytes; 0 for the class of oversize buffers
  std::uint32_t index = 0;             // in the pool's size_class_table; count() for oversize
  std::uint32_t written_at_start = 0;  // what acquire() counts as written: all under whole_block, else 0
  std::uint32_t units_mask = 0;        // 0 under zeroing::none, so that nothing is ever cleared
};

class free_block {
 public:
  static constexpr std::size_t unit_bytes = 64;
  static constexpr std::uint32_t units_whole = 0xffff;
  /// Addresses at or above this cannot be packed. User space stays below it unless asked not to
  /// (5-level paging, with a hint).
  static constexpr std::uintptr_t address_end = std::uintptr_t{1} << 48;

  /// Whether all addresses of a mapping can be packed.
  static bool can_name(const void* base, std::size_t size) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(base);
    return begin < address_end && size <= address_end - begin;
  }

  free_block() noexcept = default;
  free_block(std::byte* data, std::uint32_t units) noexcept
      : word_((reinterpret_cast<std::uint64_t>(data) << 16) | units) {}

  std::byte* data() const noexcept {
    return reinterpret_cast<std::byte*>(word_ >> 16);  // NOLINT(performance-no-int-to-ptr): the packing is the point
  }
  std::uint32_t units() const noexcept { return static_cast<std::uint32_t>(word_ & 0xffff); }

  /// The extent, in units, that covers `bytes` written from the start of a block.
  static std::uint32_t units_of(std::uint32_t bytes) noexcept {
    const std::uint32_t units = (bytes >> 6) + ((bytes & 63) != 0 ? 1 : 0);
    return units < units_whole ? units : units_whole;
  }

  /// Makes the block zero again. `class_size` is its capacity in bytes.
  void clear(std::size_t class_size) const noexcept {
    if (units() == 0) return;
    if (units() == 1 && class_size >= unit_bytes) {
      std::memset(data(), 0, unit_bytes);  // constant size: four stores instead of a call
      return;
    }
    clear_extent(class_size);
  }

 private:
  void clear_extent(std::size_t class_size) const noexcept;

  std::uint64_t word_;
};

static_assert(sizeof(free_block) == 8);

}  // namespace slabbuf::detail
