// SPDX-License-Identifier: MIT
// What local_pool and concurrent_pool are made of: classes, caches above a depot, the counts.
// Threads: as the pool around it: any thread when shared, else one.
// Lifetime: a pool_core that dies while buffers are out reports misuse (pool_died_in_use), because
// their way home leads through it.
//
//     acquire / release                       one thread_cache a thread; a local_pool has just one
//        |                                    found through thread_slots, a place for each pool
//     thread_cache  <-- half a bin -->  depot (slabs, budget)  <-- runs -->  page source
//
// A block is cleared by whoever gives it back, as far as it was written, so everything in a bin or a
// slab is zero already: taking one is a lookup and a pop, and what one owner wrote does not lie about
// until the next one comes. (Under zeroing::none nothing is cleared.)
//
// A pool that checks every block (hardening, or a memory checker runs the program) never opens its bins,
// so every operation comes by the slow path, where the checks are: the fast one pays nothing for them.
// A buffer that is sampled has a block_class of its own, with the closed place, so that its release comes
// by the slow path, too.
//
// While somebody waits for the budget, nothing is cached: bins are closed, what comes back goes to the depot
// and from there to the first in line. So no block lies where a waiter cannot have it, and no release is
// missed.
//
// A thread that exits gives back what it cached; the counts it made are kept in `retired_`.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/block_checks.hpp>
#include <slabbuf/pool/detail/depot.hpp>
#include <slabbuf/pool/detail/random.hpp>
#include <slabbuf/pool/detail/sample_log.hpp>
#include <slabbuf/pool/detail/thread_cache.hpp>
#include <slabbuf/pool/detail/thread_slots.hpp>
#include <slabbuf/pool/detail/waiter.hpp>
#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/size_class.hpp>
#include <slabbuf/pool/stats.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>

namespace slabbuf::detail {

class pool_core {
 public:
  /// Throws std::invalid_argument for options that cannot be (basic_pool.hpp), std::bad_alloc.
  pool_core(const pool_options& options, bool shared);
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;
  ~pool_core();

  struct taken {
    std::byte* data;
    const block_class* of;
  };
  struct taken_or_refused : taken {
    refusal why;  // none when `data` is not null
  };

  /// A block of at least `size` bytes from this thread's bins. False: ask take_slow(). `shared` as told
  /// to the constructor.
  template <bool shared>
  [[gnu::always_inline]] bool take(std::size_t size, taken& got) noexcept {
    bin& in_pool = bin_at(classes_, table_.index_for(size) * bin_stride);
    got.of = &in_pool.of;
    if constexpr (shared) {
      const slot_look slot(slot_in_thread_);  // not the class's: that is known later
      bin& from = slot.bin_of(*got.of);
      if (!from.pop(got.data)) [[unlikely]]
        return false;
      if (slot.in_doubt()) [[unlikely]]
        return came_to_pass(from);
      return true;
    } else {
      return in_pool.pop(got.data);
    }
  }

  /// The same by way of the depot, and for every size.
  taken_or_refused take_slow(std::size_t size) noexcept;

  /// Clears what the policy says, where the first `written` bytes were; written_unknown: whatever was.
  [[gnu::always_inline]] static void clear(const block_class& of, std::byte* data, std::uint32_t written) noexcept {
    if (written < of.clear_from) return;
    // A short message: clearing a line costs four stores, less than finding out how much of it to clear.
    if (written < of.more_from) {
      std::memset(data, 0, block_alignment);
    } else {
      clear_more(of, data, written);
    }
  }
  static constexpr std::uint32_t written_unknown = 0x8000'0000;

  /// Takes a block back that is as clear as it must be.
  template <bool shared>
  [[gnu::always_inline]] static void give(const block_class& of, std::byte* data) noexcept {
    if (!push<shared>(of, data)) [[unlikely]]
      give_slow(of, data);
  }
  static void give_slow(const block_class& from, std::byte* data) noexcept;

  /// Takes back, by its address alone, a block that take() or take_slow() gave to somebody who keeps no
  /// block_class; the first `written` bytes may have been written. False when the address is no pool's.
  static bool give_by_address(void* memory, std::size_t written) noexcept;

  /// What blocks of such a class are aligned to.
  std::size_t alignment_of(std::size_t class_size) const noexcept {
    return slab_geometry::alignment_of(class_size, alignment_);
  }

  /// Bytes there are.
  static std::size_t capacity(const taken& got) noexcept;

  /// Marks a block as lent: whoever has it must give it back by give_lent().
  static void lend(const taken& got) noexcept;

  /// Takes a lent block back by its address alone; all of it may have been written. Reports misuse when
  /// the address is no lent block of this pool or `size` is more than it has.
  void give_lent(void* data, std::size_t size) noexcept;

  /// Puts somebody in line for a block. It may have been told, on another thread or this one, before the
  /// call returns.
  void wait(waiter& added) noexcept;

  /// Takes somebody out of line. False: it was not in line, because it has been told.
  bool stop_waiting(waiter& removed) noexcept;

  /// Whether anybody is in line.
  bool has_waiters() const noexcept { return waiting_.load(std::memory_order_relaxed) != 0; }

  /// What a waiter that was told got; its block is as one from take_slow().
  taken collect(waiter& told) noexcept;

  /// Whether the budget has room for a block of that size when nothing else is out.
  bool can_ever_have(std::size_t size) const noexcept;

  /// Calls the misuse handler with what samples know of the block.
  [[noreturn]] void report(misuse kind, const void* address, std::size_t size, std::size_t class_size) const noexcept;

  /// Throws what `why` says.
  [[noreturn]] void throw_refused(std::size_t size, refusal why) const;

  const size_class_table& size_classes() const noexcept { return table_; }
  std::size_t block_bytes_max() const noexcept { return block_bytes_max_; }
  std::size_t available_bytes() const noexcept { return depot_.budget().available(); }
  void stats(pool_stats& into) const noexcept;
  std::size_t trim() noexcept;
  std::size_t decay(std::chrono::steady_clock::time_point now) noexcept;
  std::chrono::steady_clock::duration decay_period() const noexcept { return decay_period_; }
  bool check_invariants() noexcept;

  /// Null when nothing is sampled.
  const sample_log* samples() const noexcept { return samples_.get(); }
  bool shared() const noexcept { return local_cache_ == nullptr; }

  /// Called by a thread that exits, for its cache, which is closed.
  void detach(thread_cache* cache) noexcept;

  std::uint64_t id() const noexcept { return id_; }

  pool_core* next_live = nullptr;  // in the list of live pools, under its lock

 private:
  friend class live_pools;

  static bin& bin_at(bin* bins, std::size_t offset) noexcept {
    return *reinterpret_cast<bin*>(reinterpret_cast<char*>(bins) + offset);
  }
  template <bool shared>
  [[gnu::always_inline]] static bool push(const block_class& of, std::byte* data) noexcept {
    if constexpr (shared) {
      const slot_look slot(of.slot);
      bin& to = slot.bin_of(of);
      if (!to.push(data)) [[unlikely]]
        return false;
      // The pool may have died now that the block is back: nothing of it is touched any more.
      if (slot.in_doubt()) [[unlikely]]
        return came_to_pass(to);
      return true;
    } else {
      // The class is part of its bin: of is the first member.
      return reinterpret_cast<bin&>(const_cast<block_class&>(of)).push(data);
    }
  }
  /// Whether what this thread did to one of its bins came to pass (thread_slots.hpp).
  static bool came_to_pass(const bin& changed) noexcept;
  static void clear_more(const block_class& of, std::byte* data, std::uint32_t written) noexcept;
  const block_class& class_for(std::size_t index, bool sampled) const noexcept;
  thread_cache::options cache_options() const noexcept;
  thread_cache::taken take_oversize(std::size_t size) noexcept;
  void give_back(const block_class& of, std::byte* block) noexcept;
  thread_cache::taken take_from_caches(std::size_t index) noexcept;
  bool sample_uncached() noexcept;
  taken hand_out(const thread_cache::taken& got, std::size_t class_index, std::size_t size) noexcept;
  thread_cache::taken take_uncached(std::size_t index) noexcept;
  void take_for(waiter& first) noexcept;
  void serve() noexcept;
  bool reclaim() noexcept;
  bool empty_caches() noexcept;
  thread_cache* cache_of_this_thread() noexcept;
  thread_cache* add(std::unique_ptr<thread_cache> made) noexcept;
  void close_slots() noexcept;
  void take_apart(thread_cache& leaving) noexcept;

  const size_class_table table_;
  const std::uint64_t id_;  // never used twice in a process
  const hardening level_;
  const std::size_t alignment_;                 // of blocks that are at least as large
  const std::unique_ptr<block_checks> checks_;  // null where blocks are not checked
  const std::unique_ptr<sample_log> samples_;   // null where nothing is sampled
  const std::uint64_t sample_seed_ = fresh_seed();
  const std::unique_ptr<bin[]> classes_owner_;
  bin* const classes_;  // one a class, and one for oversize; in a local_pool, its bins, too. All that again
                        // for sampled buffers.
  std::ptrdiff_t slot_in_thread_ = 0;  // block_class::slot of all classes
  std::size_t slot_ = pool_slots;      // its place in every thread; pool_slots when it has none
  const std::size_t cache_bytes_max_;  // of one thread; and of oversize buffers that are kept
  const std::unique_ptr<page_source> own_pages_;
  depot depot_;
  const std::size_t block_bytes_max_;    // of the largest class that fits the budget
  memory_budget cache_room_;             // of all threads
  thread_cache* local_cache_ = nullptr;  // not null in a local_pool

  mutable std::mutex caches_mutex_;  // guards the list and retired_; before the lock of a cache
  thread_cache* caches_ = nullptr;
  struct class_counts {
    std::uint64_t acquired;
    std::uint64_t misses;
  };
  std::array<class_counts, size_class_table::count_max> retired_{};  // of caches that are gone

  std::mutex line_mutex_;  // guards line_; before the locks of the depot, after every other
  waiting_line line_;
  // Written under line_mutex_. Read and written seq_cst where it counts: whoever is put in line looks at the
  // budget after, whoever refunds the budget looks here after.
  std::atomic<std::size_t> waiting_{0};

  // Operations of threads that could not have a cache: each is shared, each is rare.
  std::array<std::atomic<std::uint64_t>, size_class_table::count_max> uncached_acquired_{};
  std::atomic<std::uint64_t> uncached_{0};
  std::atomic<std::uint64_t> sample_clock_{0};  // acquisitions without a cache, for samples

  const std::chrono::steady_clock::duration decay_period_;
  std::atomic<std::chrono::steady_clock::rep> next_decay_;
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace slabbuf::detail
