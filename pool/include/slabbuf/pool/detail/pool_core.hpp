// SPDX-License-Identifier: MIT
// What local_pool and concurrent_pool are made of: classes, caches above a depot, the counts.
// Threads: as the pool around it: any thread when shared, else one.
// Lifetime: a pool_core that dies while buffers are out reports misuse (pool_died_in_use), because
// their way home leads through it.
//
//     acquire / release                       one thread_cache a thread; a local_pool has just one
//        |                                    found through `thread_memo`, a thread's last pool
//     thread_cache  <-- half a bin -->  depot (slabs, budget)  <-- runs -->  page source
//
// A thread that exits gives back what it cached; the counts it made are kept in `retired_`.
#pragma once

#include <slabbuf/pool/detail/depot.hpp>
#include <slabbuf/pool/detail/free_block.hpp>
#include <slabbuf/pool/detail/thread_cache.hpp>
#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/size_class.hpp>
#include <slabbuf/pool/stats.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace slabbuf::detail {

/// The cache this thread used last. Constant-initialised and trivial, so that reaching it costs one
/// instruction and it can be used while other thread-local objects are being destroyed.
struct thread_memo {
  std::uint64_t pool_id;  // 0: none; ids are never reused, so a dead pool's memo matches nothing
  thread_cache* cache;
};
inline constinit thread_local thread_memo memo_of_thread{0, nullptr};

class pool_core {
 public:
  /// Throws std::invalid_argument for a budget below the smallest class, std::bad_alloc.
  pool_core(const pool_options& options, bool shared);
  pool_core(const pool_core&) = delete;
  pool_core& operator=(const pool_core&) = delete;
  ~pool_core();

  struct taken {
    std::byte* data;  // null: see `why`
    const block_class* of;
    refusal why;
  };

  /// A block of at least `size` bytes; `cleared`: zero as far as the policy says.
  taken take(std::size_t size, bool cleared) noexcept {
    thread_cache* const cache = current_cache();
    const std::size_t index = classes_table_.index_for(size);
    free_block block;
    if (cache == nullptr || !cache->pop(index, block)) [[unlikely]] {
      const refusal why = take_slow(index, size, block);
      if (why != refusal::none) return {nullptr, nullptr, why};
      if (index == classes_table_.count()) return {block.data(), &classes_[index], refusal::none};
    }
    if (cleared) block.clear(classes_[index].size);
    return {block.data(), &classes_[index], refusal::none};
  }

  /// Takes a block back of which the first `written` bytes may have been written.
  static void give(const block_class& of, std::byte* data, std::uint32_t written) noexcept {
    const free_block block(data, free_block::units_of(written) & of.units_mask);
    thread_cache* cache = of.cache;
    if (cache == nullptr && memo_of_thread.pool_id == of.pool_id) cache = memo_of_thread.cache;
    if (cache == nullptr || !cache->push(of.index, block)) [[unlikely]]
      of.pool->give_slow(of, block);
  }

  /// Takes a block back by its address alone; all of it may have been written. Reports misuse when
  /// the address is no block of this pool in use or `size` is more than it has.
  void give_raw(void* data, std::size_t size) noexcept;

  /// Throws what `why` says.
  [[noreturn]] void throw_refused(std::size_t size, refusal why) const;

  const size_class_table& size_classes() const noexcept { return classes_table_; }
  std::size_t block_bytes_max() const noexcept { return block_bytes_max_; }
  std::size_t available_bytes() const noexcept { return depot_.budget().available(); }
  void stats(pool_stats& into) const noexcept;
  std::size_t trim() noexcept;
  bool check_invariants() noexcept;

  /// Called by a thread that exits, for its cache.
  void detach(thread_cache* cache) noexcept;

  std::uint64_t id() const noexcept { return id_; }

  pool_core* next_live = nullptr;  // in the list of live pools, under its lock

 private:
  thread_cache* current_cache() const noexcept {
    if (local_cache_ != nullptr) return local_cache_;
    return memo_of_thread.pool_id == id_ ? memo_of_thread.cache : nullptr;
  }
  refusal take_slow(std::size_t index, std::size_t size, free_block& block) noexcept;
  refusal take_from_depot(std::size_t index, free_block& block) noexcept;
  void give_slow(const block_class& of, free_block block) noexcept;
  thread_cache* attach() noexcept;
  thread_cache* make_cache() noexcept;

  const std::uint64_t id_;
  thread_cache* local_cache_ = nullptr;  // not null in a local_pool
  const size_class_table classes_table_;
  std::array<block_class, size_class_table::count_max + 1> classes_;  // [count()] is oversize
  depot depot_;
  const std::size_t block_bytes_max_;  // of the largest class that fits the budget
  const std::size_t cache_bytes_max_;  // of one thread
  memory_budget cache_room_;           // of all threads

  mutable std::mutex caches_mutex_;  // guards the list and retired_; never held while a block moves
  thread_cache* caches_ = nullptr;
  struct class_counts {
    std::uint64_t acquired;
    std::uint64_t misses;
  };
  std::array<class_counts, size_class_table::count_max> retired_{};  // of caches that are gone

  // Operations of threads that could not have a cache: each is shared, each is rare.
  std::array<std::atomic<std::uint64_t>, size_class_table::count_max> uncached_acquired_{};
  std::atomic<std::uint64_t> uncached_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace slabbuf::detail
