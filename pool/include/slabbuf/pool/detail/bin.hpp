// SPDX-License-Identifier: MIT
// A stack of free blocks of one class, and what a block's owner must know to give it back to one.
// Threads: a bin belongs to one thread, which alone writes `state` while it lives; what else others do,
// thread_slots.hpp and thread_cache.hpp say. A block_class is immutable while its pool is in use.
// Lifetime: as the pool (of a local_pool: its only bins; of a concurrent_pool: the block_class alone)
// or as the thread_cache that has it.
//
// The magazines of Bonwick and Adams (2001), newest on top. One word holds everything about them, so that a pop
// is one load, one subtraction, one test and one store, and statistics and samples cost it nothing:
//
//     state   63 turn 55 54 granted 32 31 0 30 left 8 7 0 6 depth 0    blocks   | oldest | ... | newest |   room   |
//                                       |             |                                          depth    room
//                                       `-- guards: set where a subtraction took from nothing
//
//     blocks handed out, ever = before[turn % 2] + granted - left
//
// `left` is how many the fast path may still hand out before the slow path has a look, to take a sample or to
// grant some more. A bin without room and blocks sends every pop and push to the slow path: that is how pools are
// closed, caches switched off and oversize buffers told apart, without a branch of their own.
#pragma once

#include <slabbuf/pool/failure.hpp>
#include <slabbuf/pool/zeroing.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf::detail {

class pool_core;

/// What every block of one class in one pool has in common: a buffer's way home.
struct block_class {
  pool_core* pool = nullptr;
  std::ptrdiff_t slot = 0;  // where a thread finds its bins of the pool, from the thread pointer
  std::size_t size = 0;     // capacity of a block in bytes; 0 for the class of oversize buffers
  // What zeroing means for a block that comes back, in two comparisons: below `clear_from` written bytes nothing is
  // cleared, below `more_from` the first 64 bytes are, else pool_core::clear_more() decides.
  std::uint32_t clear_from = ~std::uint32_t{0};
  std::uint32_t more_from = 0;
  std::uint32_t index = 0;        // in the pool's size_class_table; count() for oversize
  zeroing clear = zeroing::none;  // what is cleared when a block comes back
};

/// Blocks of this size and more are aligned to it: direct I/O, vector code and false sharing ask for it.
inline constexpr std::size_t block_alignment = 64;

/// bin::reclaimed_at of a bin whose blocks are its own.
inline constexpr std::uint64_t not_reclaimed = ~std::uint64_t{0};

/// Bins lie in arrays, one for each class: this far apart, so that finding one is a shift.
inline constexpr std::size_t bin_stride = 1024;

struct alignas(bin_stride) bin {
  block_class of;
  std::atomic<std::uint64_t> state{0};  // released: who acquires it sees the blocks it counts
  std::uint64_t room = 0;               // most blocks it may hold, <= room_max
  // Of the cache around it (thread_cache.hpp), beside the fast path.
  std::atomic<std::uint64_t> misses{0};  // blocks handed out that were not in the bin; relaxed, one thread writes
  std::uint64_t last_use = 0;            // as thread_cache::reclaim() saw it last
  std::uint64_t next_sample = 0;         // the acquisition to be sampled next, counted from one
  std::atomic<std::uint64_t> reclaimed_at{not_reclaimed};  // the `state` whose blocks another thread took
  std::array<std::atomic<std::uint64_t>, 2> before{};      // blocks handed out before the grant of a turn
  std::byte* blocks[115]{};

  static constexpr std::uint64_t depth_mask = 0xff;
  static constexpr std::uint64_t room_max = 115;
  static constexpr std::uint64_t left_max = (std::uint64_t{1} << 23) - 1;

  std::uint64_t depth() const noexcept {
    return was_reclaimed() ? 0 : state.load(std::memory_order_acquire) & depth_mask;
  }
  bool was_reclaimed() const noexcept { return reclaimed_at.load(std::memory_order_acquire) != not_reclaimed; }

  /// Whether it ever handed out a block, or has any.
  bool was_used() const noexcept { return state.load(std::memory_order_relaxed) != 0; }

  /// Blocks handed out, ever. By any thread: a grant that comes in between makes it look again.
  std::uint64_t popped() const noexcept {
    for (;;) {
      // What lies in `before` for one parity of turns is not written in a turn of that parity, and never shrinks: the
      // same before and after a look at the state, it is what belongs to that state. However many turns came by
      // between: a turn that has come round does no harm. Acquire pairs with both releases in grant().
      const std::uint64_t turn = last_own_state() >> turn_shift;
      const std::uint64_t handed_out = before[turn % 2].load(std::memory_order_acquire);
      const std::uint64_t now = last_own_state();
      if (((now >> turn_shift) - turn) % 2 != 0) continue;
      if (before[turn % 2].load(std::memory_order_relaxed) != handed_out) continue;
      return handed_out + ((now >> granted_shift) & left_max) - left_in(now);
    }
  }

  /// Blocks the fast path may still hand out.
  std::uint64_t left() const noexcept { return left_in(state.load(std::memory_order_relaxed)); }

  /// Lets the fast path hand out `count` blocks from now on, or left_max if that is less.
  void grant(std::uint64_t count) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t turn = (now >> turn_shift) % turn_max + 1;
    const std::uint64_t granted = std::min(count, left_max);
    before[turn % 2].store(popped(), std::memory_order_release);  // not before the state of the turn before it
    state.store((now & depth_mask) | granted << left_shift | granted << granted_shift | turn << turn_shift,
                std::memory_order_release);
  }

  /// Takes the newest block. False when there is none, or when the slow path is to have a look.
  [[gnu::always_inline]] bool pop(std::byte*& block) noexcept {
    const std::uint64_t next = state.load(std::memory_order_relaxed) - pop_step;
    if ((static_cast<std::uint32_t>(next) & guards) != 0) [[unlikely]]
      return false;
    block = blocks[next & depth_mask];
    state.store(next, std::memory_order_release);
    return true;
  }

  /// Takes the oldest block. False when there is none. A walk over all. Requires left() >= 1.
  bool pop_oldest(std::byte*& block) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t depth = now & depth_mask;
    if (depth == 0) return false;
    block = blocks[0];
    std::copy(blocks + 1, blocks + depth, blocks);
    state.store(now - pop_step, std::memory_order_release);
    return true;
  }

  /// Puts a block on top. False when there is no room.
  [[gnu::always_inline]] bool push(std::byte* block) noexcept {
    const std::uint64_t now = state.load(std::memory_order_relaxed);
    const std::uint64_t depth = now & depth_mask;
    if (depth >= room) [[unlikely]]
      return false;
    blocks[depth] = block;
    state.store(now + 1, std::memory_order_release);
    return true;
  }

 private:
  static constexpr unsigned left_shift = 8;
  static constexpr unsigned granted_shift = 32;
  static constexpr unsigned turn_shift = 55;
  static constexpr std::uint64_t turn_max = 510;  // even, as every other turn has the other `before`; 0: no grant yet
  static constexpr std::uint64_t pop_step = (std::uint64_t{1} << left_shift) + 1;
  static constexpr std::uint32_t guards = 0x8000'0080;

  static std::uint64_t left_in(std::uint64_t of) noexcept { return (of >> left_shift) & left_max; }
  std::uint64_t last_own_state() const noexcept {
    const std::uint64_t reclaimed = reclaimed_at.load(std::memory_order_acquire);
    return reclaimed != not_reclaimed ? reclaimed : state.load(std::memory_order_acquire);
  }
};

static_assert(sizeof(bin) == bin_stride);
static_assert(bin::room_max <= sizeof(bin::blocks) / sizeof(bin::blocks[0]));
static_assert(bin::room_max < 0x80, "above that is a guard");

/// Reports misuse of a block by the pool that the class is of, which may know who had it.
[[noreturn]] void report_misuse_of(const block_class& of, misuse kind, const void* address) noexcept;

}  // namespace slabbuf::detail
