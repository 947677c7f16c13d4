// SPDX-License-Identifier: MIT
// Free blocks one thread keeps at hand, so that most gets and puts touch nothing shared.
// Threads: pop() and push() by the owning thread only; the counters may be read from any thread.
// Lifetime: made by a pool when a thread first uses it, taken apart by the pool, when the thread
// exits or when the pool dies.
//
// Per class, an array used as a stack, newest on top (the magazines of Bonwick and Adams, 2001, with
// DPDK's half-refill and half-flush):
//
//     floor                 top            ceiling
//     | oldest | ... | newest |   room       |        an empty bin refills half its room from the
//                                                     depot, a full one flushes its older half
//
// Byte cap: sum over classes of (ceiling - floor) x class size <= bytes_max, and over all caches of the
// pool <= the limit of `room_of_all`. A bin starts without room, doubles when it was the bottleneck,
// and takes the room from the other bins when all is given out, so the caps hold whatever the sizes
// asked for. Cost of pop() and push(): one compare, two
// moves, one count. The count is of pops; pushes follow from the depth and what the depot counts.
#pragma once

#include <slabbuf/pool/detail/depot.hpp>
#include <slabbuf/pool/detail/free_block.hpp>
#include <slabbuf/pool/memory_budget.hpp>
#include <slabbuf/pool/size_class.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace slabbuf::detail {

class thread_cache {
 public:
  /// Null when there is no memory for it. Of `classes` there are `class_count`. Room is charged to
  /// `room_of_all`, which the caches of a pool share.
  static std::unique_ptr<thread_cache> make(depot& from, const block_class* classes, std::size_t class_count,
                                            std::size_t bytes_max, memory_budget& room_of_all) noexcept;

  thread_cache(const thread_cache&) = delete;
  thread_cache& operator=(const thread_cache&) = delete;
  ~thread_cache() = default;

  /// Takes a block of class `index` (class_count finds nothing). False: call refill().
  bool pop(std::size_t index, free_block& block) noexcept {
    bin& from = bins_[index];
    free_block* const top = from.top.load(std::memory_order_relaxed);
    if (top == from.floor) [[unlikely]]
      return false;
    block = *(top - 1);
    from.top.store(top - 1, std::memory_order_relaxed);
    from.popped.store(from.popped.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return true;
  }

  /// Puts a block of class `index` in. False when the bin is full: call flush_half().
  bool push(std::size_t index, free_block block) noexcept {
    bin& to = bins_[index];
    free_block* const top = to.top.load(std::memory_order_relaxed);
    if (top == to.ceiling) [[unlikely]]
      return false;
    *top = block;
    to.top.store(top + 1, std::memory_order_relaxed);
    return true;
  }

  /// Fetches from the depot: one block for the caller and half a bin for later.
  refusal refill(std::size_t index, free_block& block) noexcept;

  /// Sends the older half of a full bin to the depot and puts `block` in.
  void flush_half(std::size_t index, free_block block) noexcept;

  /// Sends everything to the depot and gives the room back. Returns whether there was anything.
  bool flush() noexcept;

  // What stats() reads. Relaxed: each is one number that only this thread changes.
  std::uint64_t depth(std::size_t index) const noexcept {
    return static_cast<std::uint64_t>(bins_[index].top.load(std::memory_order_relaxed) - bins_[index].floor);
  }
  std::uint64_t acquired(std::size_t index) const noexcept {
    return bins_[index].popped.load(std::memory_order_relaxed) + misses(index);
  }
  std::uint64_t misses(std::size_t index) const noexcept { return misses_[index].load(std::memory_order_relaxed); }

  thread_cache* next = nullptr;  // in the pool's list, under the pool's lock
  thread_cache* previous = nullptr;

 private:
  struct bin {
    std::atomic<free_block*> top{nullptr};  // one past the newest
    free_block* floor = nullptr;            // oldest; set once
    free_block* ceiling = nullptr;          // end of the room
    std::atomic<std::uint64_t> popped{0};   // blocks handed out by pop()
  };

  thread_cache(depot& from, const block_class* classes, std::size_t class_count, std::size_t bytes_max,
               memory_budget& room_of_all, std::unique_ptr<free_block[]> storage) noexcept;
  static std::uint32_t room_max(std::size_t class_size, std::size_t bytes_max) noexcept;
  std::uint32_t room(std::size_t index) const noexcept;
  void grow(std::size_t index) noexcept;
  void shrink(std::size_t index, std::uint32_t wanted) noexcept;
  void flush_oldest(std::size_t index, std::uint32_t count) noexcept;

  std::array<bin, size_class_table::count_max + 1> bins_;
  std::array<std::atomic<std::uint64_t>, size_class_table::count_max> misses_{};  // blocks handed out by refill()

  depot& depot_;
  const block_class* const classes_;
  const std::size_t class_count_;
  const std::size_t bytes_max_;
  memory_budget& room_of_all_;
  std::size_t room_bytes_ = 0;  // sum of room x class size, charged to room_of_all_
  std::size_t victim_ = 0;      // the bin to take room from next
  std::unique_ptr<free_block[]> storage_;
};

}  // namespace slabbuf::detail
