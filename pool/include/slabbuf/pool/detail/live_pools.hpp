// SPDX-License-Identifier: MIT
// Which concurrent pools exist, and which caches a thread has of them: pools and threads end in any order.
// Threads: live_pools from any; caches_of_thread from its own.
// Lifetime: live_pools is never destroyed, because threads may exit after static objects are gone.
//
// Locks, in the order they are taken: live_pools, then the pool's list of caches, a cache, the depot's. An operation
// that a reclaim came into takes the first one, on any thread; so what is called with one of the others held
// (page_source, waiter) must not use a concurrent pool.
#pragma once

#include <slabbuf/pool/detail/thread_slots.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

namespace slabbuf::detail {

class pool_core;
class thread_cache;

/// The concurrent pools of the process, and their places among the threads' slots.
class live_pools {
 public:
  static live_pools& of_process() noexcept;

  /// Returns the place that is the pool's in every thread; pool_slots when it wants none or all are taken.
  std::size_t add(pool_core& pool, bool wants_place) noexcept;

  /// Closes the pool's place in every thread: those that exit meanwhile wait, so their places are there.
  void remove(pool_core& pool) noexcept;

  bool has(std::uint64_t pool_id) noexcept;

  /// thread_cache::came_to_pass(). Of a pool that has died meanwhile every operation did: the pool would have reported
  /// the block as one that is still out.
  bool came_to_pass(std::uint64_t pool_id, thread_cache* cache, std::size_t index) noexcept;

  /// Closes the cache of a thread that exits, and gives it back to the pool if that still exists.
  void detach(std::uint64_t pool_id, thread_cache* cache) noexcept;

 private:
  void guard_against_fork();
  pool_core* find(std::uint64_t pool_id) const noexcept;

  std::mutex mutex_;  // a pool that was found cannot die while it is held
  pool_core* first_ = nullptr;
  std::array<bool, pool_slots> slot_taken_{};
};

/// The caches of one thread, one for each pool it has used.
class caches_of_thread {
 public:
  /// Those of the calling thread. Null once they are gone, because it exits: what it still releases goes
  /// straight to the depot.
  static caches_of_thread* here() noexcept;

  caches_of_thread() = default;
  caches_of_thread(const caches_of_thread&) = delete;
  caches_of_thread& operator=(const caches_of_thread&) = delete;
  ~caches_of_thread();

  /// Null when there is none.
  thread_cache* find(std::uint64_t pool_id) const noexcept;

  /// Makes sure that add() cannot fail. False when there is no memory.
  bool reserve() noexcept;
  void add(std::uint64_t pool_id, thread_cache* cache, std::span<const bin> bins) noexcept {
    list_.push_back({pool_id, cache, bins});
  }

  /// thread_cache::came_to_pass() of the cache that has this bin; its pool may be dead, and the bin with it.
  bool came_to_pass(const bin& changed) const noexcept;

 private:
  struct cache_of_pool {
    std::uint64_t pool_id;
    thread_cache* cache;
    std::span<const bin> bins;
  };
  std::vector<cache_of_pool> list_;
  ::pid_t process_ = ::getpid();
};

}  // namespace slabbuf::detail
