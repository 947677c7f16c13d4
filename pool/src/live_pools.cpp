// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/live_pools.hpp>

#include <slabbuf/pool/detail/pool_core.hpp>
#include <slabbuf/pool/detail/thread_cache.hpp>
#include <slabbuf/pool/detail/thread_slots.hpp>

#include <pthread.h>

#include <algorithm>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace slabbuf::detail {
namespace {

constinit live_pools pools;

// Set when the thread's list is gone.
constinit thread_local bool thread_is_exiting = false;
thread_local caches_of_thread caches;

static_assert(std::is_trivially_destructible_v<live_pools>);

}  // namespace

live_pools& live_pools::of_process() noexcept { return pools; }

// A child must find the list of pools whole: another thread may be in the middle of it while this one forks.
// What else a child of a threaded program must leave alone, pool/README.md says.
void live_pools::guard_against_fork() {
  static const int result =
      ::pthread_atfork([] { pools.mutex_.lock(); }, [] { pools.mutex_.unlock(); }, [] { pools.mutex_.unlock(); });
  static_cast<void>(result);  // no memory: a child could hang, as it could in malloc
}

std::size_t live_pools::add(pool_core& pool, bool wants_place) noexcept {
  guard_against_fork();
  prepare_heavy_barrier();  // refused: heavy_barrier() says so when it matters
  const std::lock_guard lock(mutex_);
  pool.next_live = first_;
  first_ = &pool;
  if (!wants_place) return pool_slots;
  for (std::size_t slot = 0; slot < pool_slots; ++slot) {
    if (!std::exchange(slot_taken_[slot], true)) return slot;
  }
  return pool_slots;
}

void live_pools::remove(pool_core& pool) noexcept {
  const std::lock_guard lock(mutex_);
  pool_core** link = &first_;
  while (*link != &pool) link = &(*link)->next_live;
  *link = pool.next_live;
  pool.close_slots();
  if (pool.slot_ != pool_slots) slot_taken_[pool.slot_] = false;
}

pool_core* live_pools::find(std::uint64_t pool_id) const noexcept {
  pool_core* each = first_;
  while (each != nullptr && each->id() != pool_id) each = each->next_live;
  return each;
}

bool live_pools::has(std::uint64_t pool_id) noexcept {
  const std::lock_guard lock(mutex_);
  return find(pool_id) != nullptr;
}

bool live_pools::came_to_pass(std::uint64_t pool_id, thread_cache* cache, std::size_t index) noexcept {
  const std::lock_guard lock(mutex_);
  return find(pool_id) == nullptr || cache->came_to_pass(index);
}

void live_pools::detach(std::uint64_t pool_id, thread_cache* cache) noexcept {
  const std::lock_guard lock(mutex_);
  pool_core* const pool = find(pool_id);
  if (pool == nullptr) return;
  cache->close();
  pool->detach(cache);
}

caches_of_thread* caches_of_thread::here() noexcept { return thread_is_exiting ? nullptr : &caches; }

caches_of_thread::~caches_of_thread() {
  thread_is_exiting = true;
  // No fast path from here on: nobody could say any more whether what it leaves in doubt came to pass.
  for (auto& each : slots_of_thread.to_bins) each.store(0, std::memory_order_relaxed);
  // In a child of fork() the caches belong to the parent's pools, whose locks nobody there will ever open.
  if (::getpid() != process_) return;
  for (const cache_of_pool& each : list_) pools.detach(each.pool_id, each.cache);
}

thread_cache* caches_of_thread::find(std::uint64_t pool_id) const noexcept {
  const auto found =
      std::find_if(list_.begin(), list_.end(), [&](const auto& each) { return each.pool_id == pool_id; });
  return found != list_.end() ? found->cache : nullptr;
}

bool caches_of_thread::came_to_pass(const bin& changed) const noexcept {
  const std::less<const bin*> before;
  // The newest first: where a cache is gone, the next one may have got its memory.
  const auto found = std::find_if(list_.rbegin(), list_.rend(), [&](const cache_of_pool& each) {
    return !before(&changed, each.bins.data()) && before(&changed, each.bins.data() + each.bins.size());
  });
  if (found == list_.rend()) return true;
  return pools.came_to_pass(found->pool_id, found->cache, static_cast<std::size_t>(&changed - found->bins.data()));
}

bool caches_of_thread::reserve() noexcept {
  // A child of fork() begins anew: what is in the list is the parent's.
  if (::getpid() != process_) {
    list_.clear();
    process_ = ::getpid();
  }
  if (list_.size() < list_.capacity()) return true;
  std::erase_if(list_, [](const auto& each) { return !pools.has(each.pool_id); });
  try {
    list_.reserve(std::max<std::size_t>(4, 2 * list_.size()));
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

}  // namespace slabbuf::detail
