// SPDX-License-Identifier: MIT
// A stack of free blocks of one class, and what a block's owner must know to give it back to one.
// Threads: a bin belongs to one thread; `state` may be read from any. A block_class is immutable while
// its pool is in use.
// Lifetime: as the pool (of a local_pool: its only bins; of a concurrent_pool: the block_class alone)
// or as the thread_cache that has it.
//
// The magazines of Bonwick and Adams (2001), newest on top. One word holds depth and count, so that a
// pop is one load, one store and a block that is hot, and statistics cost nothing:
//
//     state   63 blocks handed out, ever 8 7 depth 0        blocks   | oldest | ... | newest |   room   |
//                                                                                             depth    room
// A bin without room and blocks sends every pop and push to the slow path: that is how pools are
// closed, caches switched off and oversize buffers told apart, without a branch of their own.
#pragma once

#include <slabbuf/pool/failure.hpp>
#include <slabbuf/pool/zeroing.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf::detail {

class pool_core;

/// What every block of one class in one pool has in common: a buffer's way home.
struct block_class {
  pool_core* pool = nullptr;
  std::ptrdiff_t slot = 0;        // where a thread finds its bins of the pool, from the thread pointer
  std::size_t size = 0;           // capacity of a block in bytes; 0 for the class of oversize buffers
  std::uint32_t bin_offset = 0;   // from a thread's first bin to that of this class
  std::uint32_t index = 0;        // in the pool's size_class_table; count() for oversize
  std::uint32_t clear_max = 0;    // most written bytes that are cleared where the buffer dies
  zeroing clear = zeroing::none;  // what is cleared when a block comes back
};

/// bin::sample_at of an open bin where nothing is sampled.
inline constexpr std::uint64_t never_sampled = ~std::uint64_t{0};

/// Blocks of this size and more are aligned to it: direct I/O, vector code and false sharing ask for it.
inline constexpr std::size_t block_alignment = 64;

/// Bins lie in arrays, one for each class: this far apart, so that finding one is a shift.
inline constexpr std::size_t bin_stride = 1024;

struct alignas(bin_stride) bin {
  block_class of;
  std::atomic<std::uint64_t> state{0};  // relaxed: one thread writes, others only read the numbers
  std::uint64_t room = 0;               // most blocks it may hold, <= room_max
  std::uint64_t sample_at = 0;          // from this `state` on, the slow path has a look at each block
  // Of the cache around it (thread_cache.hpp), beside the fast path.
  std::atomic<std::uint64_t> misses{0};  // blocks handed out that were not in the bin; as `state`
  std::uint64_t last_use = 0;            // as thread_cache::reclaim() saw it last
  std::uint64_t next_sample = 0;         // the acquisition to be sampled next, counted from one
  std::byte* blocks[117]{};

  static constexpr std::uint64_t depth_mask = 0xff;
  static constexpr std::uint64_t count_shift = 8;
  static constexpr std::uint64_t room_max = 116;

  std::uint64_t depth() const noexcept { return state.load(std::memory_order_relaxed) & depth_mask; }
  std::uint64_t popped() const noexcept { return state.load(std::memory_order_relaxed) >> count_shift; }

  /// Takes the newest block. False when there is none, or when its taking is to be sampled.
  [[gnu::always_inline]] bool pop(std::byte*& block) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t depth = now & depth_mask;
    if (depth == 0 || now >= sample_at) [[unlikely]]
      return false;
    block = blocks[depth - 1];
    state.store(now + ((std::uint64_t{1} << count_shift) - 1), std::memory_order_relaxed);
    return true;
  }

  /// Takes the oldest block, whether it is to be sampled or not. False when there is none. A walk over all.
  bool pop_oldest(std::byte*& block) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t depth = now & depth_mask;
    if (depth == 0) return false;
    block = blocks[0];
    std::copy(blocks + 1, blocks + depth, blocks);
    state.store(now + ((std::uint64_t{1} << count_shift) - 1), std::memory_order_relaxed);
    return true;
  }

  /// Puts a block on top. False when there is no room.
  [[gnu::always_inline]] bool push(std::byte* block) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t depth = now & depth_mask;
    if (depth >= room) [[unlikely]]
      return false;
    blocks[depth] = block;
    state.store(now + 1, std::memory_order_relaxed);
    return true;
  }
};

static_assert(sizeof(bin) == bin_stride);
static_assert(bin::room_max <= sizeof(bin::blocks) / sizeof(bin::blocks[0]) && bin::room_max <= bin::depth_mask);

/// Reports misuse of a block by the pool that the class is of, which may know who had it.
[[noreturn]] void report_misuse_of(const block_class& of, misuse kind, const void* address) noexcept;

}  // namespace slabbuf::detail
