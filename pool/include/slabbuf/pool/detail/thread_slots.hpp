// SPDX-License-Identifier: MIT
// Where a thread finds its bins of each concurrent pool, and how other threads take them away.
// Threads: a thread uses its own; others may close a slot.
// Lifetime: as the thread; constant-initialised and trivial, so that it can be used while other
// thread-local objects are being made or destroyed.
//
// What a slot has is a distance: from any class of the pool to the thread's bin of that class. A closed one has 0, and
// so leads to the class itself, which is a bin without room and blocks:
//
//     slots_of_thread   | 0 | to bins of pool 1 | 0 | ...         a pool's place is the same in all threads:
//                                                                 block_class::slot
// A thread pops and pushes without atomic read-modify-writes, and whoever reclaims waits for none that does. It writes
// first and looks afterwards whether its slot is still open. That is Dekker's algorithm with its cost on the rare side
// (an asymmetric fence, as in folly's hazard pointers):
//
//     the thread, every time                  whoever reclaims, under the lock of the cache
//       read slot                               slot = 0: closed
//       bin.state = what is left                heavy_barrier(): every thread of the process has passed a fence
//       read slot again                         read bin.state, and take the blocks it counts
//         open: done                            bin.reclaimed_at = that state
//         closed: thread_cache::came_to_pass()
//
// Either the thread finds its slot closed, or whoever reclaims finds the state it wrote; and if both, the thread
// sees under the lock by `reclaimed_at` which of its two states was taken: the one from before the operation,
// which then never happened, or the one it wrote. At most one operation lies between two looks, and each changes the
// state.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf::detail {

/// Concurrent pools with a place of their own at the same time. Those beyond do without: every operation of
/// theirs takes the slow path.
inline constexpr std::size_t pool_slots = 16;

struct thread_slots {
  std::atomic<std::ptrdiff_t> to_bins[pool_slots + 1];  // bytes; the last one is of the pools that have no place
};

// initial-exec: one instruction to reach it, also from a shared library (of glibc). Hidden: each copy of this library
// in a process has a register of places of its own (live_pools), so it must not share the slots with another copy.
inline constinit thread_local thread_slots slots_of_thread
    [[gnu::tls_model("initial-exec"), gnu::visibility("hidden")]]{};

/// What block_class::slot must be for place `index`.
inline std::ptrdiff_t slot_offset(std::size_t index) noexcept {
  return reinterpret_cast<char*>(&slots_of_thread.to_bins[index]) - static_cast<char*>(__builtin_thread_pointer());
}

/// This thread's look at one slot, for one operation on one bin.
class slot_look {
 public:
  [[gnu::always_inline]] explicit slot_look(std::ptrdiff_t slot) noexcept : slot_(slot), to_bins_(load()) {}
  slot_look(const slot_look&) = delete;
  slot_look& operator=(const slot_look&) = delete;

  [[gnu::always_inline]] bin& bin_of(const block_class& of) const noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): from one array into another
    return *reinterpret_cast<bin*>(reinterpret_cast<std::intptr_t>(&of) + to_bins_);
  }

// GCC's ThreadSanitizer sees each access; clang's does without this one, by which nothing is ordered.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  /// Whether somebody has closed the slot meanwhile: what was done to a bin is in doubt. Asked after it.
  [[gnu::always_inline]] bool in_doubt() const noexcept {
    // As below, in one instruction: compilers do not fold an atomic load into a comparison.
    bool changed;
    asm volatile("cmpq %%fs:(%1), %2" : "=@ccne"(changed) : "r"(slot_), "r"(to_bins_) : "memory");
    return changed;
  }

 private:
  [[gnu::always_inline]] std::ptrdiff_t load() const noexcept {
    std::ptrdiff_t now;
    asm volatile("movq %%fs:(%1), %0" : "=r"(now) : "r"(slot_));
    return now;
  }
#else
  [[gnu::always_inline]] bool in_doubt() const noexcept {
    // For the compiler; the processor's part is in heavy_barrier().
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return load() != to_bins_;
  }

 private:
  [[gnu::always_inline]] std::ptrdiff_t load() const noexcept {
    const char* const at = static_cast<const char*>(__builtin_thread_pointer()) + slot_;
    return reinterpret_cast<const std::atomic<std::ptrdiff_t>*>(at)->load(std::memory_order_relaxed);
  }
#endif

  std::ptrdiff_t slot_;
  std::ptrdiff_t to_bins_;
};

/// Makes every thread of the process pass a full fence. False where the system cannot (before Linux
/// 4.14, or when a sandbox forbids membarrier(2)): then nothing can be reclaimed from other threads.
bool heavy_barrier() noexcept;

/// Best before the first heavy_barrier(), and with no lock held: the kernel may take milliseconds for it. False where
/// it refuses. Any thread, any number of times.
bool prepare_heavy_barrier() noexcept;

}  // namespace slabbuf::detail
