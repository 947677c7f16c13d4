// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/pool_core.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>
#include <slabbuf/pool/failure.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace slabbuf::detail {
namespace {

// Free blocks in caches are out of reach for other threads. So one thread keeps at most this part of
// a budget, and all together at most that one: the rest is always there for whoever asks.
constexpr std::size_t cache_part_of_budget = 16;
constexpr std::size_t all_caches_part_of_budget = 4;

std::uint64_t next_pool_id() noexcept {
  static constinit std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// The shared pools that exist. A thread that exits finds out here which of its caches still belong
// to somebody. Trivially destructible: threads may exit after static objects are gone.
class live_pools {
 public:
  void add(pool_core& pool) noexcept {
    const std::lock_guard lock(mutex_);
    pool.next_live = first_;
    first_ = &pool;
  }

  void remove(const pool_core& pool) noexcept {
    const std::lock_guard lock(mutex_);
    pool_core** link = &first_;
    while (*link != &pool) link = &(*link)->next_live;
    *link = pool.next_live;
  }

  /// Calls `action` with the pool of this id, if it exists; it cannot die meanwhile.
  template <class Action>
  bool with(std::uint64_t id, Action action) noexcept {
    const std::lock_guard lock(mutex_);
    for (pool_core* each = first_; each != nullptr; each = each->next_live) {
      if (each->id() != id) continue;
      action(*each);
      return true;
    }
    return false;
  }

 private:
  std::mutex mutex_;
  pool_core* first_ = nullptr;
};
constinit live_pools live;

// The caches of one thread, one for each pool it has used.
class attachments {
 public:
  attachments() = default;
  attachments(const attachments&) = delete;
  attachments& operator=(const attachments&) = delete;
  ~attachments();

  thread_cache* find(std::uint64_t pool_id) const noexcept {
    const auto found =
        std::find_if(list_.begin(), list_.end(), [&](const auto& each) { return each.pool_id == pool_id; });
    return found != list_.end() ? found->cache : nullptr;
  }

  // Makes sure that add() cannot fail. False when there is no memory.
  bool reserve() noexcept {
    std::erase_if(list_, [](const auto& each) { return !live.with(each.pool_id, [](pool_core&) {}); });
    try {
      list_.reserve(list_.size() + 1);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  void add(std::uint64_t pool_id, thread_cache* cache) noexcept { list_.push_back({pool_id, cache}); }

 private:
  struct attachment {
    std::uint64_t pool_id;
    thread_cache* cache;
  };
  std::vector<attachment> list_;
};

// Set when the thread's attachments are gone: what it still releases goes straight to the depot.
constinit thread_local bool thread_is_exiting = false;
thread_local attachments attachments_of_thread;

attachments::~attachments() {
  thread_is_exiting = true;
  memo_of_thread = {0, nullptr};
  for (const attachment& each : list_) {
    live.with(each.pool_id, [&](pool_core& pool) { pool.detach(each.cache); });
  }
}

std::size_t checked_budget(const pool_options& options) {
  const std::size_t smallest = options.size_classes.size_of(0);
  if (options.budget_bytes_max < smallest) {
    throw std::invalid_argument("pool_options: a budget of " + std::to_string(options.budget_bytes_max) +
                                " bytes is smaller than one block of " + std::to_string(smallest));
  }
  return options.budget_bytes_max;
}

}  // namespace

pool_core::pool_core(const pool_options& options, bool shared)
    : id_(next_pool_id()),
      classes_table_(options.size_classes),
      classes_([&] {
        std::array<block_class, size_class_table::count_max + 1> classes{};
        for (std::size_t index = 0; index <= classes_table_.count(); ++index) {
          const bool oversize = index == classes_table_.count();
          const std::size_t size = oversize ? 0 : classes_table_.size_of(index);
          classes[index] = {
              .pool = this,
              .cache = nullptr,
              .pool_id = id_,
              .size = size,
              .index = static_cast<std::uint32_t>(index),
              .written_at_start = options.zero == zeroing::whole_block ? static_cast<std::uint32_t>(size) : 0,
              .units_mask = options.zero == zeroing::none ? 0 : ~std::uint32_t{0}};
        }
        return classes;
      }()),
      depot_(options.pages != nullptr ? *options.pages : page_source::system(), checked_budget(options),
             classes_.data(), classes_table_.count(), shared),
      block_bytes_max_([&] {
        std::size_t index = classes_table_.count() - 1;
        while (classes_table_.size_of(index) > options.budget_bytes_max) --index;
        return classes_table_.size_of(index);
      }()),
      cache_bytes_max_(std::min(options.cache_bytes_max, options.budget_bytes_max / cache_part_of_budget)),
      cache_room_(options.budget_bytes_max == memory_budget::unlimited
                      ? memory_budget::unlimited
                      : options.budget_bytes_max / all_caches_part_of_budget) {
  if (shared) {
    live.add(*this);
    return;
  }
  local_cache_ = make_cache();
  if (local_cache_ == nullptr) throw std::bad_alloc();
  for (block_class& each : classes_) each.cache = local_cache_;
}

pool_core::~pool_core() {
  if (local_cache_ == nullptr) live.remove(*this);
  if (memo_of_thread.pool_id == id_) memo_of_thread = {0, nullptr};
  while (caches_ != nullptr) detach(caches_);

  std::uint64_t in_use = depot_.oversize().in_use;
  for (std::size_t index = 0; index < classes_table_.count(); ++index) in_use += depot_.blocks_out(index);
  if (in_use != 0) report_misuse({misuse::pool_died_in_use, this, static_cast<std::size_t>(in_use), 0});
}

refusal pool_core::take_slow(std::size_t index, std::size_t size, free_block& block) noexcept {
  refusal why = refusal::none;
  if (index < classes_table_.count()) {
    why = take_from_depot(index, block);
  } else if (size > buffer_bytes_max) {
    why = refusal::budget;
  } else {
    depot::oversize_block made = depot_.take_oversize(size, &classes_[index]);
    if (made.why == refusal::budget) {
      thread_cache* const cache = local_cache_ != nullptr ? local_cache_ : attach();
      if (cache != nullptr && cache->flush()) made = depot_.take_oversize(size, &classes_[index]);
    }
    block = free_block(made.data, 0);
    why = made.why;
  }
  if (why != refusal::none) refused_.fetch_add(1, std::memory_order_relaxed);
  return why;
}

refusal pool_core::take_from_depot(std::size_t index, free_block& block) noexcept {
  thread_cache* const cache = local_cache_ != nullptr ? local_cache_ : attach();
  if (cache == nullptr) {
    uncached_.fetch_add(1, std::memory_order_relaxed);
    const depot::batch got = depot_.take(index, &block, 1);
    if (got.count != 0) uncached_acquired_[index].fetch_add(1, std::memory_order_relaxed);
    return got.why;
  }
  if (cache->pop(index, block)) return refusal::none;  // the memo was another pool's, the cache is not empty
  refusal why = cache->refill(index, block);
  // Before saying no: what this thread caches counts against the budget too, and where the system is
  // out of memory, slabs of other classes may be empty.
  if (why == refusal::budget && cache->flush()) why = cache->refill(index, block);
  if (why == refusal::memory) {
    trim();
    why = cache->refill(index, block);
  }
  return why;
}

void pool_core::give_slow(const block_class& of, free_block block) noexcept {
  if (of.size == 0) {
    slab* const record = page_map::find(block.data());
    if (record == nullptr || record->owner != &of || record->base != block.data()) [[unlikely]]
      report_misuse({misuse::double_put, block.data(), 0, 0});
    depot_.put_oversize(record);
    return;
  }
  thread_cache* const cache = local_cache_ != nullptr ? local_cache_ : attach();
  if (cache == nullptr) {
    uncached_.fetch_add(1, std::memory_order_relaxed);
    depot_.put(of.index, &block, 1);
    return;
  }
  if (!cache->push(of.index, block)) cache->flush_half(of.index, block);
}

void pool_core::give_raw(void* data, std::size_t size) noexcept {
  const slab* const record = page_map::find(data);
  if (record == nullptr) [[unlikely]]
    report_misuse({misuse::foreign_pointer, data, size, 0});
  const block_class& of = *record->owner;
  if (of.pool != this) [[unlikely]]
    report_misuse({misuse::other_pool, data, size, of.size});
  const std::size_t capacity = of.size != 0 ? of.size : record->span_bytes;
  if (size > capacity) [[unlikely]]
    report_misuse({misuse::size_mismatch, data, size, capacity});
  auto* const block = static_cast<std::byte*>(data);
  if (record->index_of(block) == record->block_count) [[unlikely]]
    report_misuse({misuse::not_a_block, data, size, capacity});
  give(of, block, static_cast<std::uint32_t>(of.size));
}

void pool_core::throw_refused(std::size_t size, refusal why) const {
  if (size > buffer_bytes_max) throw acquire_failed("is more than one buffer may have,", size, buffer_bytes_max);
  if (why == refusal::budget) throw budget_exceeded(size, depot_.budget().bytes_max());
  throw acquire_failed("cannot be had: the system refused more memory", size, 0);
}

thread_cache* pool_core::make_cache() noexcept {
  std::unique_ptr<thread_cache> made =
      thread_cache::make(depot_, classes_.data(), classes_table_.count(), cache_bytes_max_, cache_room_);
  if (made == nullptr) return nullptr;
  const std::lock_guard lock(caches_mutex_);
  made->next = caches_;
  if (caches_ != nullptr) caches_->previous = made.get();
  caches_ = made.release();
  return caches_;
}

// This thread's cache, made on first use. Null when it cannot have one.
thread_cache* pool_core::attach() noexcept {
  if (memo_of_thread.pool_id == id_) return memo_of_thread.cache;
  if (thread_is_exiting) return nullptr;
  thread_cache* cache = attachments_of_thread.find(id_);
  if (cache == nullptr) {
    if (!attachments_of_thread.reserve()) return nullptr;
    cache = make_cache();
    if (cache == nullptr) return nullptr;
    attachments_of_thread.add(id_, cache);
  }
  memo_of_thread = {id_, cache};
  return cache;
}

void pool_core::detach(thread_cache* cache) noexcept {
  cache->flush();  // gives its room back too
  const std::unique_ptr<thread_cache> dying(cache);
  const std::lock_guard lock(caches_mutex_);
  for (std::size_t index = 0; index < classes_table_.count(); ++index) {
    retired_[index].acquired += cache->acquired(index);
    retired_[index].misses += cache->misses(index);
  }
  (cache->previous != nullptr ? cache->previous->next : caches_) = cache->next;
  if (cache->next != nullptr) cache->next->previous = cache->previous;
}

void pool_core::stats(pool_stats& into) const noexcept {
  const depot::oversize_counts oversize = depot_.oversize();
  const memory_budget& budget = depot_.budget();
  into.acquired = into.oversize = oversize.acquired;
  into.hits = into.misses = into.cached = into.cached_bytes = into.slabs = into.threads = 0;
  into.in_use = into.oversize_in_use = oversize.in_use;
  into.in_use_bytes = into.oversize_bytes = oversize.in_use_bytes;
  into.slab_bytes = depot_.slab_bytes();
  into.refused = refused_.load(std::memory_order_relaxed);
  into.uncached = uncached_.load(std::memory_order_relaxed);
  into.bytes = budget.charged();
  into.bytes_high_water = budget.charged_high_water();
  into.budget_bytes_max = budget.bytes_max();
  into.class_count = classes_table_.count();

  const std::lock_guard lock(caches_mutex_);
  for (const thread_cache* each = caches_; each != nullptr; each = each->next) ++into.threads;
  for (std::size_t index = 0; index < into.class_count; ++index) {
    class_stats& one = into.class_storage[index];
    const std::uint64_t uncached = uncached_acquired_[index].load(std::memory_order_relaxed);
    one.size = classes_[index].size;
    one.acquired = retired_[index].acquired + uncached;
    one.misses = retired_[index].misses + uncached;
    one.cached = 0;
    for (const thread_cache* each = caches_; each != nullptr; each = each->next) {
      one.acquired += each->acquired(index);
      one.misses += each->misses(index);
      one.cached += each->depth(index);
    }
    const std::uint64_t out = depot_.blocks_out(index);
    one.in_use = out > one.cached ? out - one.cached : 0;  // a batch in flight is not counted twice
    one.released = one.acquired > one.in_use ? one.acquired - one.in_use : 0;
    one.hits = one.acquired > one.misses ? one.acquired - one.misses : 0;
    one.slabs = depot_.slab_count(index);

    into.acquired += one.acquired;
    into.hits += one.hits;
    into.misses += one.misses;
    into.in_use += one.in_use;
    into.in_use_bytes += one.in_use * one.size;
    into.cached += one.cached;
    into.cached_bytes += one.cached * one.size;
    into.slabs += one.slabs;
  }
  into.released = into.acquired > into.in_use ? into.acquired - into.in_use : 0;
}

std::size_t pool_core::trim() noexcept {
  thread_cache* const cache = local_cache_ != nullptr ? local_cache_ : attach();
  if (cache != nullptr) cache->flush();
  return depot_.trim();
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
