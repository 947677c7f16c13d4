// SPDX-License-Identifier: MIT
// pool_core as seen from outside: what it counts, and what must hold among the counts.
#include <slabbuf/pool/detail/pool_core.hpp>

#include <mutex>

namespace slabbuf::detail {

void pool_core::stats(pool_stats& into) const noexcept {
  const depot::oversize_counts oversize = depot_.oversize();
  const memory_budget& budget = depot_.budget();
  into.acquired = into.oversize = oversize.acquired;
  into.hits = into.misses = into.slabs = into.threads = 0;
  into.cached = oversize.kept;
  into.cached_bytes = oversize.kept_bytes;
  into.in_use = into.oversize_in_use = oversize.in_use;
  into.in_use_bytes = into.oversize_bytes = oversize.in_use_bytes;
  into.slab_bytes = depot_.slab_bytes();
  into.resident_bytes = depot_.resident_bytes();
  into.retained_bytes = depot_.retained_bytes();
  into.samples_dropped = samples_ != nullptr ? samples_->dropped() : 0;
  into.refused = refused_.load(std::memory_order_relaxed);
  into.uncached = uncached_.load(std::memory_order_relaxed);
  into.bytes = budget.charged();
  into.bytes_high_water = budget.charged_high_water();
  into.budget_bytes_max = budget.bytes_max();
  into.backing_refused = depot_.backing_refused();
  into.class_count = table_.count();

  const std::lock_guard lock(caches_mutex_);
  for (const thread_cache* each = caches_; each != nullptr; each = each->next) ++into.threads;
  for (std::size_t index = 0; index < into.class_count; ++index) {
    class_stats& one = into.class_storage[index];
    const std::uint64_t uncached = uncached_acquired_[index].load(std::memory_order_relaxed);
    one = {};
    one.size = classes_[index].of.size;
    one.acquired = retired_[index].acquired + uncached;
    one.misses = retired_[index].misses + uncached;
    for (const thread_cache* each = caches_; each != nullptr; each = each->next) {
      if (!each->was_used(index)) continue;
      one.acquired += each->acquired(index);
      one.misses += each->misses(index);
      one.cached += each->depth(index);
    }
    // Most programs use few of the classes.
    one.slabs = depot_.slab_count(index);
    into.slabs += one.slabs;
    if (one.acquired == 0) continue;
    one.high_water = depot_.blocks_out_high_water(index);
    const std::uint64_t out = depot_.blocks_out(index);
    one.in_use = out > one.cached ? out - one.cached : 0;  // a batch in flight is not counted twice
    one.released = one.acquired > one.in_use ? one.acquired - one.in_use : 0;
    one.hits = one.acquired > one.misses ? one.acquired - one.misses : 0;

    into.acquired += one.acquired;
    into.hits += one.hits;
    into.misses += one.misses;
    into.in_use += one.in_use;
    into.in_use_bytes += one.in_use * one.size;
    into.cached += one.cached;
    into.cached_bytes += one.cached * one.size;
  }
  into.released = into.acquired > into.in_use ? into.acquired - into.in_use : 0;
}

bool pool_core::check_invariants() noexcept {
  if (!depot_.check_invariants()) return false;
  pool_stats now;
  stats(now);
  if (now.acquired != now.released + now.in_use) return false;
  if (now.acquired != now.hits + now.misses + now.oversize) return false;
  if (now.bytes > now.budget_bytes_max || now.bytes_high_water < now.bytes) return false;
  return now.bytes == now.in_use_bytes + now.cached_bytes;
}

}  // namespace slabbuf::detail
