// SPDX-License-Identifier: MIT
// Where a thread finds its bins of each concurrent pool, and how other threads take them away.
// Threads: a thread uses its own; others may close a slot, and look whether the thread is inside.
// Lifetime: as the thread; constant-initialised and trivial, so that it can be used while other
// thread-local objects are being made or destroyed.
//
//     bins_of_thread.slots   | closed | bins of pool 1 | closed | ...      a pool's place is the same in all
//                                                                          threads: block_class::slot
//
// A thread pops and pushes without atomic read-modify-writes, so another thread can only take what is
// in its bins when it is certain to be elsewhere. That is Dekker's algorithm with its cost on the rare
// side (an asymmetric fence, as in folly's hazard pointers):
//
//     the thread, every time              whoever reclaims
//       inside = 1                          slot = closed
//       read slot, use bins                 heavy_barrier(): every thread of the process has passed a fence
//       inside = 0                          wait until inside == 0: from now on it sees `closed`
#pragma once

#include <slabbuf/pool/detail/bin.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace slabbuf::detail {

/// Concurrent pools with a place of their own at the same time. Those beyond do without: every
/// operation of theirs takes the slow path.
inline constexpr std::size_t pool_slots = 16;

/// Bins without room and blocks, one for each class a pool may have: nobody ever writes to them.
extern bin closed_bins[];

struct thread_slots {
  std::atomic<std::uint8_t> inside;        // the thread may be using bins
  std::atomic<bin*> bins[pool_slots + 1];  // the last one is of the pools that have no place
};

template <std::size_t... slot>
constexpr thread_slots closed_slots(std::index_sequence<slot...>) noexcept {
  return {0, {(static_cast<void>(slot), closed_bins)...}};
}

// initial-exec: one instruction to reach it, also from a shared library.
inline constinit thread_local thread_slots slots_of_thread [[gnu::tls_model("initial-exec")]] =
    closed_slots(std::make_index_sequence<pool_slots + 1>());

/// What block_class::slot must be for place `index`.
inline std::ptrdiff_t slot_offset(std::size_t index) noexcept {
  return reinterpret_cast<char*>(&slots_of_thread.bins[index]) - static_cast<char*>(__builtin_thread_pointer());
}

/// This thread's use of the bins in one slot: from construction to destruction nobody takes them away.
class slot_guard {
 public:
  [[gnu::always_inline]] explicit slot_guard(std::ptrdiff_t slot) noexcept {
    slots_of_thread.inside.store(1, std::memory_order_relaxed);
    // For the compiler; the processor's part is in heavy_barrier().
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const auto* const at =
        reinterpret_cast<const std::atomic<bin*>*>(static_cast<const char*>(__builtin_thread_pointer()) + slot);
    bins_ = at->load(std::memory_order_relaxed);
  }
  slot_guard(const slot_guard&) = delete;
  slot_guard& operator=(const slot_guard&) = delete;
  // Release pairs with the acquire of whoever waits for it: they see what was done to the bins.
  [[gnu::always_inline]] ~slot_guard() { slots_of_thread.inside.store(0, std::memory_order_release); }

  [[gnu::always_inline]] bin& at(std::size_t offset) const noexcept {
    return *reinterpret_cast<bin*>(reinterpret_cast<char*>(bins_) + offset);
  }

 private:
  bin* bins_;
};

/// Makes every thread of the process pass a full fence. False where the system cannot (before Linux
/// 4.14, or when a sandbox forbids membarrier(2)): then nothing can be reclaimed from other threads.
bool heavy_barrier() noexcept;

}  // namespace slabbuf::detail
