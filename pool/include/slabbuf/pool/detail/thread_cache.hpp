// SPDX-License-Identifier: MIT
// Free blocks one thread keeps at hand, so that most gets and puts touch nothing shared: its bins
// (bin.hpp), and everything about them that is not the fast path.
// Threads: take(), put(), flush() and came_to_pass() by the owning thread, reclaim() by any other; the counters may be
// read from any thread. The lock is taken once for half a bin of blocks.
// Lifetime: made by a pool when a thread first uses it, taken apart by the pool, when the thread
// exits or when the pool dies.
//
// DPDK's half-refill and half-flush: an empty bin takes half its room from the depot, a full one gives
// its older half to it.
//
// Byte cap: sum over classes of room x class size <= bytes_max, and over all caches of the pool <= the
// limit of `room_of_all`. A bin starts without room, doubles when it was the bottleneck, and takes the
// room from the other bins when all is given out, so the caps hold whatever the sizes asked for.
//
// Invariant: while the thread's slot is closed, only holders of the lock touch the bins; an operation that was under
// way when it was closed is looked at under the lock (thread_slots.hpp). What a
// bin has whose blocks were reclaimed, its owner learns by recover().
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/depot.hpp>
#include <slabbuf/pool/detail/thread_slots.hpp>
#include <slabbuf/pool/memory_budget.hpp>
#include <slabbuf/pool/size_class.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace slabbuf::detail {

class thread_cache {
 public:
  struct options {
    std::size_t bytes_max;            // byte cap of this cache
    std::uint32_t sample_period = 0;  // as in pool_options
    bool oldest_first = false;        // hand out the block that was put first
    // Not zero: keep nothing. Null: always zero.
    const std::atomic<std::size_t>* waiting = nullptr;
  };

  /// The cache of a local_pool whose bins are the pool's own, always open. Null when there is no memory.
  static std::unique_ptr<thread_cache> make(depot& from, bin* bins, std::size_t class_count, const options& how,
                                            memory_budget& room_of_all) noexcept;

  /// The same with bins of its own like `classes`, which nobody reaches but by take() and put().
  static std::unique_ptr<thread_cache> make_closed(depot& from, const bin* classes, std::size_t class_count,
                                                   const options& how, memory_budget& room_of_all) noexcept;

  /// The cache of the calling thread for a concurrent_pool, with bins like `classes`. Its slot opens
  /// with the first take() or put(), unless `slot` is pool_slots.
  static std::unique_ptr<thread_cache> make_of_thread(depot& from, const bin* classes, std::size_t class_count,
                                                      const options& how, memory_budget& room_of_all,
                                                      std::size_t slot) noexcept;

  thread_cache(const thread_cache&) = delete;
  thread_cache& operator=(const thread_cache&) = delete;
  ~thread_cache() = default;

  struct taken {
    std::byte* block;  // null: see `why`
    refusal why;
    bool sampled = false;  // whether to note who took it
  };

  /// Takes a block of class `index`: where the fast path found none, with half a bin for later.
  taken take(std::size_t index) noexcept;

  /// Puts a block in where the fast path found no room: the older half of the bin goes to the depot.
  void put(std::size_t index, std::byte* block) noexcept;

  /// Sends everything to the depot and gives the room back. Returns whether there was anything.
  bool flush() noexcept;

  /// flush(), by any thread: the owner finds its slot closed and comes by way of take(), put() or came_to_pass(). With
  /// `only_idle`, of the bins that were not used since that was asked last. False, too, when the owner
  /// could not be kept out.
  bool reclaim(bool only_idle) noexcept;

  /// Whether the owner's operation on the bin of `index`, in doubt because the slot was closed meanwhile, came to
  /// pass: false when its blocks were reclaimed as they were before it.
  bool came_to_pass(std::size_t index) noexcept;

  /// Closes the slot for good: by the owner as it exits, or by whoever knows that it is elsewhere.
  void close() noexcept;

  // What stats() reads: each is one number that only this thread changes. Of most classes all are 0, which
  // was_used() tells for less.
  bool was_used(std::size_t index) const noexcept { return bins_[index].was_used(); }
  std::uint64_t depth(std::size_t index) const noexcept { return bins_[index].depth(); }
  std::uint64_t acquired(std::size_t index) const noexcept { return bins_[index].popped() + misses(index); }
  std::span<const bin> bins() const noexcept { return {bins_, class_count_}; }
  std::uint64_t misses(std::size_t index) const noexcept { return bins_[index].misses.load(std::memory_order_relaxed); }

  thread_cache* next = nullptr;  // in the pool's list, under the pool's lock
  thread_cache* previous = nullptr;

 private:
  thread_cache(depot& from, const bin* classes, bin* bins, std::unique_ptr<bin[]> owned, std::size_t class_count,
               const options& how, memory_budget& room_of_all, thread_slots* owner, std::size_t slot) noexcept;
  std::uint64_t room_max(std::size_t index) const noexcept;
  void open() noexcept;
  bool is_own() const noexcept;
  bool keep_owner_out() noexcept;
  void recover() noexcept;
  bool take_away(std::size_t index, bool lay_idle) noexcept;
  void give_up_room(std::size_t index, std::uint64_t count) noexcept;
  bool keeps_nothing() const noexcept;
  bool empty() noexcept;
  bool sample_is_due(std::size_t index) const noexcept;
  std::uint64_t first_sample() noexcept;
  void draw_sample(std::size_t index) noexcept;
  void grow(std::size_t index) noexcept;
  void shrink(std::size_t index, std::uint64_t wanted, bool lay_idle = false) noexcept;
  void flush_oldest(std::size_t index, std::uint64_t count, bool lay_idle = false) noexcept;
  std::uint64_t use(std::size_t index) const noexcept;

  depot& depot_;
  const bin* const classes_;            // of the pool: what the distance in a slot counts from
  const std::unique_ptr<bin[]> owned_;  // null where the bins are the pool's
  bin* const bins_;
  const std::size_t class_count_;
  const options how_;
  memory_budget& room_of_all_;
  thread_slots* const owner_;  // null in a local_pool
  const std::size_t slot_;

  optional_mutex mutex_;
  std::size_t room_bytes_ = 0;  // sum of room x class size, charged to room_of_all_; not of reclaimed bins
  std::size_t victim_ = 0;      // the bin to take room from next
  bool reclaimed_ = false;      // whether some bin's blocks were, and recover() has something to do
  std::uint64_t random_;
};

}  // namespace slabbuf::detail
