// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/pool_core.hpp>

#include <slabbuf/pool/detail/live_pools.hpp>
#include <slabbuf/pool/detail/memory_marks.hpp>
#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/random.hpp>
#include <slabbuf/pool/detail/slab.hpp>
#include <slabbuf/pool/failure.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace slabbuf::detail {
namespace {

// Free blocks in caches are out of reach for other threads. So one thread keeps at most this part of
// a budget, and all together at most that one: the rest is always there for whoever asks.
constexpr std::size_t cache_part_of_budget = 16;
constexpr std::size_t all_caches_part_of_budget = 4;

// Longer periods are this one: as good as never, and within what a clock can count.
constexpr std::chrono::milliseconds decay_max = std::chrono::hours(24 * 365);

std::uint64_t next_pool_id() noexcept {
  static constinit std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::size_t checked_budget(const pool_options& options) {
  const std::size_t smallest = options.size_classes.size_of(0);
  if (options.budget_bytes_max < smallest) {
    throw std::invalid_argument("pool_options: a budget of " + std::to_string(options.budget_bytes_max) +
                                " bytes is smaller than one block of " + std::to_string(smallest));
  }
  return options.budget_bytes_max;
}

// Null when memory comes from elsewhere.
std::size_t checked_alignment(const pool_options& options) {
  const std::size_t alignment = options.block_alignment;
  if (alignment < alignof(std::max_align_t) || alignment > block_alignment || !std::has_single_bit(alignment)) {
    throw std::invalid_argument("pool_options: a block_alignment of " + std::to_string(alignment) +
                                " bytes is none of 16, 32 and 64");
  }
  return alignment;
}

std::unique_ptr<page_source> make_own_pages(const pool_options& options) {
  if (options.backing == page_backing{}) return nullptr;
  if (options.pages != nullptr) {
    throw std::invalid_argument("pool_options: `backing` is set, and so is `pages`, which has a backing of its own");
  }
  return std::make_unique<system_page_source>(options.backing);
}

page_source& pages_of(const pool_options& options, const std::unique_ptr<page_source>& own) {
  if (own != nullptr) return *own;
  return options.pages != nullptr ? *options.pages : page_source::system();
}

// Of oversize buffers, which may not be kept: more is cleared only when it is.
constexpr std::uint32_t oversize_clear_max = 4096;

// The fewest written bytes for which there is something to clear.
std::uint32_t clear_from(zeroing clear) noexcept {
  switch (clear) {
    case zeroing::none: break;
    case zeroing::whole_block: return 0;
    case zeroing::dirty_extent: return 1;
  }
  return ~std::uint32_t{0};  // more than written_unknown and any extent
}

// The fewest written bytes for which clearing the block's first line will not do.
std::uint32_t more_from(zeroing clear, std::size_t size, bool checked) noexcept {
  // Where bytes beyond the written ones are looked at, none of them may be cleared.
  const bool may = clear == zeroing::dirty_extent && size >= block_alignment && !checked;
  return may ? static_cast<std::uint32_t>(block_alignment) + 1 : 0;
}

// One bin for each class, and one for oversize buffers; and the same for sampled buffers.
std::unique_ptr<bin[]> make_classes(pool_core& pool, const size_class_table& table, zeroing clear, bool sampled,
                                    bool checked) {
  const std::size_t count = table.count() + 1;
  auto classes = std::make_unique<bin[]>(sampled ? 2 * count : count);
  for (std::size_t index = 0; index < (sampled ? 2 * count : count); ++index) {
    const bool oversize = index % count == table.count();
    classes[index].of = {.pool = &pool,
                         .slot = slot_offset(pool_slots),
                         .size = oversize ? 0 : table.size_of(index % count),
                         .clear_from = clear_from(clear),
                         .more_from = more_from(clear, oversize ? 0 : table.size_of(index % count), checked),
                         .index = static_cast<std::uint32_t>(index % count),
                         .clear = clear};
  }
  return classes;
}

// The checks rest on free blocks being zero.
zeroing effective_zeroing(const pool_options& options) noexcept {
  return options.harden != hardening::off && options.zero == zeroing::none ? zeroing::dirty_extent : options.zero;
}

std::unique_ptr<block_checks> make_checks(const pool_options& options) {
  if (options.harden == hardening::off && !memory_is_watched()) return nullptr;
  return std::make_unique<block_checks>(options.harden, effective_zeroing(options) != zeroing::none);
}

}  // namespace

pool_core::pool_core(const pool_options& options, bool shared)
    : table_(options.size_classes),
      id_(next_pool_id()),
      level_(options.harden),
      alignment_(checked_alignment(options)),
      checks_(make_checks(options)),
      samples_(options.sample_period != 0 ? std::make_unique<sample_log>(options.sample_period) : nullptr),
      classes_owner_(make_classes(*this, table_, effective_zeroing(options), samples_ != nullptr, checks_ != nullptr)),
      classes_(classes_owner_.get()),
      cache_bytes_max_(std::min(options.cache_bytes_max, options.budget_bytes_max / cache_part_of_budget)),
      own_pages_(make_own_pages(options)),
      // Hardened, none is kept: whoever writes to a released one finds no memory there.
      depot_(pages_of(options, own_pages_), checked_budget(options), classes_, table_.count(), shared,
             {.oversize_kept_bytes_max = options.harden == hardening::off ? cache_bytes_max_ : 0,
              // Checked, none is in transfer: only a slab knows of every block whether it is free.
              .transfer_bytes_max = checks_ == nullptr ? cache_bytes_max_ / 2 : 0,
              .level = options.harden,
              .alignment = alignment_}),
      block_bytes_max_([&] {
        std::size_t index = table_.count() - 1;
        while (table_.size_of(index) > options.budget_bytes_max) --index;
        return table_.size_of(index);
      }()),
      cache_room_(options.budget_bytes_max == memory_budget::unlimited
                      ? memory_budget::unlimited
                      : options.budget_bytes_max / all_caches_part_of_budget),
      decay_period_(std::clamp<std::chrono::milliseconds>(options.decay, std::chrono::milliseconds(0), decay_max)),
      next_decay_((std::chrono::steady_clock::now() + decay_period_).time_since_epoch().count()) {
  if (shared) {
    const bool open = checks_ == nullptr;
    slot_ = live_pools::of_process().add(*this, open);  // nothing that throws comes after it
    slot_in_thread_ = slot_offset(slot_);
    for (std::size_t index = 0; index <= table_.count(); ++index) classes_[index].of.slot = slot_in_thread_;
    return;
  }
  local_cache_ = add(checks_ == nullptr
                         ? thread_cache::make(depot_, classes_, table_.count(), cache_options(), cache_room_)
                         : thread_cache::make_closed(depot_, classes_, table_.count(), cache_options(), cache_room_));
  if (local_cache_ == nullptr) throw std::bad_alloc();
}

pool_core::~pool_core() {
  if (has_waiters()) {
    pool_stats now;
    stats(now);
    report_misuse({misuse::pool_died_in_use, this, static_cast<std::size_t>(now.in_use), 0, nullptr, waiting_.load()});
  }
  if (shared()) live_pools::of_process().remove(*this);
  while (caches_ != nullptr) detach(caches_);

  std::uint64_t in_use = depot_.oversize().in_use;
  for (std::size_t index = 0; index < table_.count(); ++index) {
    const std::uint64_t out = depot_.blocks_out(index);
    // More came back than went out: a block that was put twice, and went out again before its slab saw it.
    if (out > UINT64_MAX / 2) report_misuse({misuse::double_put, this, 0, classes_[index].of.size});
    in_use += out;
  }
  if (in_use == 0) return;
  provenance oldest;
  const bool known = samples_ != nullptr && samples_->oldest(oldest);
  report_misuse({misuse::pool_died_in_use, this, static_cast<std::size_t>(in_use), 0, known ? &oldest : nullptr});
}

thread_cache::options pool_core::cache_options() const noexcept {
  return {.bytes_max = cache_bytes_max_,
          .sample_period = samples_ != nullptr ? samples_->period() : 0,
          .oldest_first = level_ == hardening::full,
          .waiting = &waiting_};
}

void report_misuse_of(const block_class& of, misuse kind, const void* address) noexcept {
  if (of.pool == nullptr) report_misuse({kind, address, 0, of.size});
  of.pool->report(kind, address, 0, of.size);
}

void pool_core::report(misuse kind, const void* address, std::size_t size, std::size_t class_size) const noexcept {
  provenance last;
  const bool known = samples_ != nullptr && samples_->find(address, last);
  report_misuse({kind, address, size, class_size, known ? &last : nullptr});
}

const block_class& pool_core::class_for(std::size_t index, bool sampled) const noexcept {
  return classes_[sampled ? table_.count() + 1 + index : index].of;
}

pool_core::taken_or_refused pool_core::take_slow(std::size_t size) noexcept {
  const std::size_t index = table_.find(size);
  const bool oversize = index == size_class_table::npos;
  const std::size_t class_index = oversize ? table_.count() : index;
  const thread_cache::taken got = oversize ? take_oversize(size) : take_from_caches(index);
  if (got.block == nullptr) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    return {{nullptr, nullptr}, got.why};
  }
  return {hand_out(got, class_index, size), refusal::none};
}

// What is done with every block that did not come by the fast path.
pool_core::taken pool_core::hand_out(const thread_cache::taken& got, std::size_t class_index,
                                     std::size_t size) noexcept {
  const taken given{got.block, &class_for(class_index, got.sampled)};
  if (checks_ != nullptr) {
    if (const auto fault = checks_->take(classes_[class_index].of, got.block)) [[unlikely]]
      report(*fault, got.block, size, capacity(given));
  }
  if (got.sampled) {
    samples_->add(got.block, size, capacity(given));
  } else if (samples_ != nullptr) {
    samples_->superseded(got.block);
  }
  return given;
}

thread_cache::taken pool_core::take_oversize(std::size_t size) noexcept {
  const block_class& of = classes_[table_.count()].of;
  if (size > buffer_bytes_max) return {nullptr, refusal::budget};
  depot::oversize_block made = depot_.take_oversize(size, &of);
  if (made.why == refusal::budget) {
    reclaim();
    made = depot_.take_oversize(size, &of);
  }
  if (made.why == refusal::memory) {
    trim();
    made = depot_.take_oversize(size, &of);
  }
  return {made.data, made.why, made.data != nullptr && sample_uncached()};
}

// Whether to sample an acquisition for which no cache counts. At random, as there.
bool pool_core::sample_uncached() noexcept {
  return samples_ != nullptr &&
         mixed(sample_clock_.fetch_add(1, std::memory_order_relaxed) ^ sample_seed_) % samples_->period() == 0;
}

thread_cache::taken pool_core::take_from_caches(std::size_t index) noexcept {
  thread_cache* const cache = cache_of_this_thread();
  const auto attempt = [&]() -> thread_cache::taken {
    return cache != nullptr ? cache->take(index) : take_uncached(index);
  };
  if (cache == nullptr) uncached_.fetch_add(1, std::memory_order_relaxed);
  thread_cache::taken got = attempt();
  // Before saying no: what is cached counts against the budget, too, and where the system is out of
  // memory, slabs of other classes may be empty. A second attempt in any case: another thread may have
  // reclaimed at the same moment.
  if (got.why == refusal::budget) {
    reclaim();
    got = attempt();
  }
  if (got.why == refusal::memory) {
    trim();
    got = attempt();
  }
  serve();  // what this thread had cached may have gone back
  return got;
}

thread_cache::taken pool_core::take_uncached(std::size_t index) noexcept {
  std::byte* block = nullptr;
  const depot::batch got = depot_.take(index, &block, 1);
  if (got.count == 0) return {nullptr, got.why};
  uncached_acquired_[index].fetch_add(1, std::memory_order_relaxed);
  return {block, refusal::none, sample_uncached()};
}

bool pool_core::can_ever_have(std::size_t size) const noexcept {
  const std::size_t budget = depot_.budget().bytes_max();
  const std::size_t index = table_.find(size);
  if (index != size_class_table::npos) return table_.size_of(index) <= budget;
  const std::size_t page = page_size();
  return size <= buffer_bytes_max && (size + page - 1) / page * page <= budget;
}

// Gives up what is charged and in nobody's hands. Returns whether there was any.
bool pool_core::reclaim() noexcept {
  const bool dropped = depot_.drop_oversize(false) != 0;
  return empty_caches() || dropped;
}

bool pool_core::empty_caches() noexcept {
  bool any = false;
  const std::lock_guard lock(caches_mutex_);
  for (thread_cache* each = caches_; each != nullptr; each = each->next) any = each->reclaim(false) || any;
  return any;
}

void pool_core::give_slow(const block_class& from, std::byte* data) noexcept {
  pool_core& pool = *from.pool;
  const block_class& of = pool.classes_[from.index].of;  // that of a sampled buffer is another
  if (pool.samples_ != nullptr) pool.samples_->returned(data);
  if (pool.checks_ != nullptr) {
    if (const auto fault = pool.checks_->give(of, data)) [[unlikely]]
      pool.report(*fault, data, 0, of.size);
  }
  if (of.size == 0) {
    slab* const record = page_map::find(data);
    if (record == nullptr || record->owner != &of || record->base != data) [[unlikely]]
      pool.report(misuse::double_put, data, 0, 0);
    pool.depot_.put_oversize(record);
    if (pool.has_waiters()) pool.depot_.drop_oversize(false);
  } else if (thread_cache* const cache = pool.cache_of_this_thread()) {
    cache->put(of.index, data);
  } else {
    pool.uncached_.fetch_add(1, std::memory_order_relaxed);
    pool.depot_.put(of.index, &data, 1);
  }
  pool.serve();
}

bool pool_core::give_by_address(void* memory, std::size_t written) noexcept {
  const slab* const record = page_map::find(memory);
  auto* const block = static_cast<std::byte*>(memory);
  // What follows an oversize buffer within its last granule may be anybody's.
  if (record == nullptr || (record->owner->size == 0 && record->base != block)) return false;
  const block_class& of = *record->owner;
  if (of.pool->checks_ != nullptr) {
    if (const auto fault = of.pool->checks_->before_give(block)) [[unlikely]]
      of.pool->report(*fault, block, written, of.size);
  }
  const std::size_t limit = std::min<std::size_t>(of.size != 0 ? of.size : record->span_bytes, written_unknown);
  clear(of, block, static_cast<std::uint32_t>(std::min(written, limit)));
  of.pool->give_back(of, block);
  return true;
}

// What came back by its address may have been sampled, which a handle would know.
void pool_core::give_back(const block_class& of, std::byte* block) noexcept {
  if (samples_ != nullptr) samples_->returned(block);
  shared() ? give<true>(of, block) : give<false>(of, block);
}

std::size_t pool_core::capacity(const taken& got) noexcept {
  if (got.of->size != 0) return got.of->size;
  const slab* const record = page_map::find(got.data);
  return record != nullptr ? record->span_bytes : 0;
}

void pool_core::lend(const taken& got) noexcept {
  slab* const record = page_map::find(got.data);
  if (record == nullptr || !record->lend(record->index_of(got.data))) [[unlikely]]
    got.of->pool->report(misuse::double_put, got.data, 0, got.of->size);
}

void pool_core::give_lent(void* data, std::size_t size) noexcept {
  slab* const record = page_map::find(data);
  if (record == nullptr) [[unlikely]]
    report(misuse::foreign_pointer, data, size, 0);
  const block_class& of = *record->owner;
  if (of.pool != this) [[unlikely]]
    report(misuse::other_pool, data, size, of.size);
  const std::size_t capacity = of.size != 0 ? of.size : record->span_bytes;
  if (size > capacity) [[unlikely]]
    report(misuse::size_mismatch, data, size, capacity);
  auto* const block = static_cast<std::byte*>(data);
  const std::uint32_t index = record->index_of(block);
  if (index == record->block_count) [[unlikely]]
    report(misuse::not_a_block, data, size, capacity);
  if (!record->reclaim_lent(index)) [[unlikely]]
    report(misuse::double_put, data, size, capacity);
  clear(of, block, written_unknown);
  give_back(of, block);
}

// More than clear() does by itself. An oversize buffer that will not be kept goes back to the system
// instead: nobody sees it again.
void pool_core::clear_more(const block_class& of, std::byte* data, std::uint32_t written) noexcept {
  std::size_t bytes = of.size;
  if (bytes == 0 && (of.clear != zeroing::dirty_extent || written > oversize_clear_max)) {
    const slab* const record = page_map::find(data);
    if (record == nullptr || !of.pool->depot_.keeps_oversize(record->span_bytes)) return;
    bytes = record->span_bytes;
  } else if (bytes == 0) {
    bytes = written;
  }
  std::memset(data, 0, of.clear == zeroing::dirty_extent ? std::min<std::size_t>(written, bytes) : bytes);
}

void pool_core::throw_refused(std::size_t size, refusal why) const {
  if (size > buffer_bytes_max) throw acquire_failed("is more than one buffer may have,", size, buffer_bytes_max);
  if (why == refusal::budget) {
    throw budget_exceeded(size, depot_.budget().bytes_max(), depot_.budget().charged());
  }
  throw acquire_failed("cannot be had: the system refused more memory", size, 0);
}

thread_cache* pool_core::add(std::unique_ptr<thread_cache> made) noexcept {
  if (made == nullptr) return nullptr;
  const std::lock_guard lock(caches_mutex_);
  made->next = caches_;
  if (caches_ != nullptr) caches_->previous = made.get();
  caches_ = made.release();
  return caches_;
}

// Made on first use. Null when this thread cannot have one.
thread_cache* pool_core::cache_of_this_thread() noexcept {
  if (local_cache_ != nullptr) return local_cache_;
  caches_of_thread* const others = caches_of_thread::here();
  if (others == nullptr) return nullptr;
  if (thread_cache* const found = others->find(id_)) return found;
  if (!others->reserve()) return nullptr;
  thread_cache* const made =
      add(thread_cache::make_of_thread(depot_, classes_, table_.count(), cache_options(), cache_room_, slot_));
  if (made != nullptr) others->add(id_, made, made->bins());
  return made;
}

bool pool_core::came_to_pass(const bin& changed) noexcept { return caches_of_thread::here()->came_to_pass(changed); }

void pool_core::close_slots() noexcept {
  for (thread_cache* each = caches_; each != nullptr; each = each->next) each->close();
}

void pool_core::detach(thread_cache* cache) noexcept {
  const std::unique_ptr<thread_cache> dying(cache);
  {
    const std::lock_guard lock(caches_mutex_);
    take_apart(*cache);
  }
  serve();
}

void pool_core::take_apart(thread_cache& leaving) noexcept {
  thread_cache* const cache = &leaving;
  cache->flush();  // gives its room back, too
  for (std::size_t index = 0; index < table_.count(); ++index) {
    retired_[index].acquired += cache->acquired(index);
    retired_[index].misses += cache->misses(index);
  }
  (cache->previous != nullptr ? cache->previous->next : caches_) = cache->next;
  if (cache->next != nullptr) cache->next->previous = cache->previous;
}

std::size_t pool_core::trim() noexcept {
  empty_caches();
  return depot_.trim();
}

// An epoch of the caches and the depot: what was not used in the one that ends goes back to the system.
std::size_t pool_core::decay(std::chrono::steady_clock::time_point now) noexcept {
  if (decay_period_ <= decay_period_.zero()) return 0;
  const auto time = now.time_since_epoch().count();
  auto due = next_decay_.load(std::memory_order_relaxed);
  if (time < due) return 0;
  // Of threads that come at the same time one does it.
  if (!next_decay_.compare_exchange_strong(due, time + decay_period_.count(), std::memory_order_relaxed)) return 0;
  {
    const std::lock_guard lock(caches_mutex_);
    for (thread_cache* each = caches_; each != nullptr; each = each->next) each->reclaim(true);
  }
  return depot_.trim(true);
}

}  // namespace slabbuf::detail
