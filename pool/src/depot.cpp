// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/depot.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/failure.hpp>

namespace slabbuf::detail {
namespace {

// An empty slab is kept for the next burst; a second one goes back to the regions, where every
// class can have it. One slab of hysteresis is enough: the caches above absorb what is smaller.
constexpr std::uint32_t empty_slabs_kept = 1;

void add(std::atomic<std::uint64_t>& counter, std::uint64_t value) noexcept {
  counter.fetch_add(value, std::memory_order_relaxed);
}

void subtract(std::atomic<std::uint64_t>& counter, std::uint64_t value) noexcept {
  counter.fetch_sub(value, std::memory_order_relaxed);
}

}  // namespace

depot::depot(page_source& pages, std::size_t budget_bytes_max, const bin* classes, std::size_t class_count, bool shared,
             std::size_t oversize_kept_bytes_max, hardening level, std::size_t alignment)
    : pages_(pages),
      budget_(budget_bytes_max),
      classes_(classes),
      class_count_(class_count),
      depots_(new class_depot[class_count]),
      regions_(pages),
      oversize_kept_bytes_max_(oversize_kept_bytes_max),
      level_(level) {
  for (std::size_t index = 0; index < class_count_; ++index) {
    depots_[index].geometry = slab_geometry::of(classes_[index].of.size, level, alignment);
    if (shared) depots_[index].mutex.enable();
  }
  if (shared) region_mutex_.enable();
}

depot::~depot() {
  drop_oversize(false);
  for (std::size_t index = 0; index < class_count_; ++index) {
    for (slab_list* const list : {&depots_[index].partial, &depots_[index].full}) {
      while (list->first != nullptr) {
        slab* const dying = list->first;
        list->remove(dying);
        page_map::clear(dying->base, dying->span_bytes);
        slab::destroy(dying);
      }
    }
  }
}

depot::batch depot::take(std::size_t index, std::byte** blocks, std::uint32_t count) noexcept {
  const std::size_t size = classes_[index].of.size;
  if (!budget_.try_charge(size * count)) {
    if (count == 1 || !budget_.try_charge(size)) return {0, refusal::budget};
    count = 1;
  }
  class_depot& in = depots_[index];
  std::uint32_t taken = 0;
  {
    const std::lock_guard lock(in.mutex);
    while (taken < count) {
      slab* from = in.partial.first;
      if (from == nullptr) from = grow(in, index);
      if (from == nullptr) break;
      if (from->free_count == from->block_count) --in.empty_count;
      const std::uint32_t resident_before = from->resident_pages;
      taken += from->take(blocks + taken, count - taken);
      add(slab_resident_bytes_, (from->resident_pages - resident_before) * page_size());
      if (from->free_count == 0) {
        in.partial.remove(from);
        in.full.push_front(from);
      }
    }
    const std::uint64_t out = in.blocks_out.load(std::memory_order_relaxed) + taken;
    in.blocks_out.store(out, std::memory_order_relaxed);
    if (out > in.out_high_water.load(std::memory_order_relaxed))
      in.out_high_water.store(out, std::memory_order_relaxed);
  }
  if (taken < count) budget_.refund(size * (count - taken));
  return {taken, taken == 0 ? refusal::memory : refusal::none};
}

void depot::put(std::size_t index, std::byte* const* blocks, std::uint32_t count, bool lay_idle) noexcept {
  class_depot& in = depots_[index];
  {
    const std::lock_guard lock(in.mutex);
    for (std::uint32_t each = 0; each < count; ++each) put_one(in, index, blocks[each], lay_idle);
    subtract(in.blocks_out, count);
  }
  budget_.refund(classes_[index].of.size * count);
}

void depot::put_one(class_depot& in, std::size_t index, std::byte* block, bool lay_idle) noexcept {
  slab* const to = page_map::find(block);
  // A block that was put twice may find its slab gone, or another in its place.
  const bool known = to != nullptr && to->owner == &classes_[index].of;
  const bool was_full = known && to->free_count == 0;
  if (!known || !to->put(block, !lay_idle)) [[unlikely]]
    report_misuse_of(classes_[index].of, misuse::double_put, block);
  if (to->free_count == to->block_count) {
    (was_full ? in.full : in.partial).remove(to);
    // What lay idle is on its way to the system, which trim() does with the slab still whole.
    if (in.empty_count >= empty_slabs_kept && !lay_idle) {
      retire(in, to);
    } else {
      ++in.empty_count;
      in.partial.push_back(to);
    }
  } else if (was_full) {
    in.full.remove(to);
    in.partial.push_front(to);
  }
}

slab* depot::grow(class_depot& in, std::size_t index) noexcept {
  const std::size_t span_bytes = in.geometry.span_bytes;
  region_set::run run{};
  {
    const std::lock_guard lock(region_mutex_);
    // Memory that is in no slab does not count against the budget, but it is there: it goes back to the
    // system before the pool has more resident than the budget allows.
    const std::size_t resident_max = slab_bytes() + span_bytes + regions_.idle_bytes();
    if (regions_.idle_bytes() != 0 && resident_max > budget_.bytes_max()) regions_.purge();
    run = regions_.allocate(span_bytes);
    note_region();
  }
  if (run.base == nullptr) return nullptr;
  run.resident = pages_.populate(run.base, span_bytes) || run.resident;
  slab* const made = slab::make(run.base, run.resident, in.geometry, classes_[index].of);
  if (made == nullptr || !page_map::set(run.base, span_bytes, made)) {
    if (made != nullptr) slab::destroy(made);
    const std::lock_guard lock(region_mutex_);
    regions_.free(run.base, span_bytes, run.resident);
    note_region();
    return nullptr;
  }
  in.partial.push_front(made);
  ++in.empty_count;
  add(in.slab_count, 1);
  add(slab_bytes_, span_bytes);
  add(slab_resident_bytes_, made->resident_pages * page_size());
  return made;
}

// Takes a slab that is in no list, every block free, apart.
void depot::retire(class_depot& in, slab* empty) noexcept {
  page_map::clear(empty->base, empty->span_bytes);
  {
    const std::lock_guard lock(region_mutex_);
    regions_.free(empty->base, empty->span_bytes, empty->resident());
    note_region();
  }
  subtract(slab_resident_bytes_, empty->resident_pages * page_size());
  subtract(in.slab_count, 1);
  subtract(slab_bytes_, empty->span_bytes);
  slab::destroy(empty);
}

// Under the lock of regions_: what it says, for whoever does not take that lock.
void depot::note_region() noexcept {
  idle_bytes_.store(regions_.idle_bytes(), std::memory_order_relaxed);
  mapped_bytes_.store(regions_.mapped_bytes(), std::memory_order_relaxed);
}

depot::oversize_block depot::take_oversize(std::size_t size, const block_class* owner) noexcept {
  const std::size_t page = page_size();
  if (size > SIZE_MAX - page) return {nullptr, refusal::budget};
  const std::size_t bytes = (size + page - 1) / page * page;
  slab* record = take_kept(bytes);
  if (record == nullptr) {
    if (!budget_.try_charge(bytes)) return {nullptr, refusal::budget};
    record = map_oversize(bytes, owner);
    if (record == nullptr) {
      budget_.refund(bytes);
      return {nullptr, refusal::memory};
    }
  }
  add(oversize_acquired_, 1);
  add(oversize_in_use_, 1);
  add(oversize_bytes_, record->span_bytes);
  return {record->base, refusal::none};
}

slab* depot::map_oversize(std::size_t bytes, const block_class* owner) noexcept {
  void* const memory = pages_.map(bytes, granule_bytes);
  if (memory == nullptr) return nullptr;
  auto* const base = static_cast<std::byte*>(memory);
  const slab_geometry geometry{
      .stride = bytes, .span_bytes = bytes, .block_count = 1, .canary_bytes = 0, .checked = level_ != hardening::off};
  slab* const record =
      page_map::can_find(base, bytes) ? slab::make(base, pages_.populate(base, bytes), geometry, *owner) : nullptr;
  if (record != nullptr && page_map::set(base, bytes, record)) return record;
  if (record != nullptr) slab::destroy(record);
  pages_.unmap(memory, bytes);
  return nullptr;
}

void depot::unmap_oversize(slab* record) noexcept {
  const std::size_t bytes = record->span_bytes;
  std::byte* const base = record->base;
  page_map::clear(base, bytes);
  slab::destroy(record);
  pages_.unmap(base, bytes);
  budget_.refund(bytes);
}

// The one that fits best, of those that would not waste more than a quarter. Few are kept: they are large.
slab* depot::take_kept(std::size_t bytes) noexcept {
  if (oversize_kept_count_.load(std::memory_order_relaxed) == 0) return nullptr;
  const std::lock_guard lock(region_mutex_);
  slab* best = nullptr;
  for (slab* each = oversize_kept_.first; each != nullptr; each = each->next) {
    if (each->span_bytes < bytes || each->span_bytes > bytes + bytes / 4) continue;
    if (best == nullptr || each->span_bytes < best->span_bytes) best = each;
  }
  if (best == nullptr) return nullptr;
  unkeep(best);
  return best;
}

// Under the lock.
void depot::unkeep(slab* record) noexcept {
  oversize_kept_.remove(record);
  subtract(oversize_kept_count_, 1);
  subtract(oversize_kept_bytes_, record->span_bytes);
}

std::size_t depot::unmap_all(slab_list& records) noexcept {
  std::size_t bytes = 0;
  while (slab* const each = records.first) {
    records.remove(each);
    bytes += each->span_bytes;
    unmap_oversize(each);
  }
  return bytes;
}

void depot::put_oversize(slab* record) noexcept {
  const std::size_t bytes = record->span_bytes;
  subtract(oversize_in_use_, 1);
  subtract(oversize_bytes_, bytes);
  if (!keeps_oversize(bytes)) return unmap_oversize(record);
  slab_list dropped;
  {
    const std::lock_guard lock(region_mutex_);
    record->used = true;
    oversize_kept_.push_front(record);
    add(oversize_kept_count_, 1);
    add(oversize_kept_bytes_, bytes);
    while (oversize_kept_bytes_.load(std::memory_order_relaxed) > oversize_kept_bytes_max_) {
      slab* const oldest = oversize_kept_.last;
      unkeep(oldest);
      dropped.push_front(oldest);
    }
  }
  unmap_all(dropped);
}

std::size_t depot::drop_oversize(bool only_idle) noexcept {
  slab_list dropped;
  {
    const std::lock_guard lock(region_mutex_);
    for (slab* each = oversize_kept_.first; each != nullptr;) {
      slab* const next = each->next;
      if (!only_idle || each->idle()) {
        unkeep(each);
        dropped.push_front(each);
      }
      each = next;
    }
  }
  return unmap_all(dropped);
}

std::size_t depot::trim(bool only_idle) noexcept {
  std::size_t trimmed_bytes = drop_oversize(only_idle);
  for (std::size_t index = 0; index < class_count_; ++index) {
    class_depot& in = depots_[index];
    const std::lock_guard lock(in.mutex);
    for (slab* each = in.full.first; only_idle && each != nullptr; each = each->next) static_cast<void>(each->idle());
    for (slab* each = in.partial.first; each != nullptr;) {
      slab* const next = each->next;
      if (!only_idle || each->idle()) {
        const bool empty = each->free_count == each->block_count;
        // All of an empty slab is given back with its region, in larger pieces, unless that waits for idleness.
        if (!empty || only_idle) {
          const std::size_t purged_bytes = each->purge(pages_);
          subtract(slab_resident_bytes_, purged_bytes);
          trimmed_bytes += purged_bytes;
        }
        if (empty) {
          in.partial.remove(each);
          --in.empty_count;
          retire(in, each);
        }
      }
      each = next;
    }
  }
  const std::lock_guard lock(region_mutex_);
  trimmed_bytes += only_idle ? regions_.purge_unneeded() : regions_.purge();
  note_region();
  return trimmed_bytes;
}

std::uint64_t depot::blocks_out(std::size_t index) const noexcept {
  return depots_[index].blocks_out.load(std::memory_order_relaxed);
}

std::uint64_t depot::slab_count(std::size_t index) const noexcept {
  return depots_[index].slab_count.load(std::memory_order_relaxed);
}

std::uint64_t depot::blocks_out_high_water(std::size_t index) const noexcept {
  return depots_[index].out_high_water.load(std::memory_order_relaxed);
}

std::uint64_t depot::resident_bytes() const noexcept {
  const oversize_counts large = oversize();
  return slab_resident_bytes_.load(std::memory_order_relaxed) + idle_bytes_.load(std::memory_order_relaxed) +
         large.in_use_bytes + large.kept_bytes;
}

std::uint64_t depot::retained_bytes() const noexcept {
  const std::uint64_t mapped = mapped_bytes_.load(std::memory_order_relaxed);
  const std::uint64_t resident =
      slab_resident_bytes_.load(std::memory_order_relaxed) + idle_bytes_.load(std::memory_order_relaxed);
  return mapped > resident ? mapped - resident : 0;
}

depot::oversize_counts depot::oversize() const noexcept {
  return {oversize_acquired_.load(std::memory_order_relaxed), oversize_in_use_.load(std::memory_order_relaxed),
          oversize_bytes_.load(std::memory_order_relaxed), oversize_kept_count_.load(std::memory_order_relaxed),
          oversize_kept_bytes_.load(std::memory_order_relaxed)};
}

bool depot::check_invariants() noexcept {
  std::uint64_t charged = oversize().in_use_bytes + oversize().kept_bytes;
  std::uint64_t resident_pages = 0;
  for (std::size_t index = 0; index < class_count_; ++index) {
    class_depot& in = depots_[index];
    const std::lock_guard lock(in.mutex);
    std::uint64_t out = 0;
    std::uint64_t slabs = 0;
    std::uint32_t empties = 0;
    for (const slab_list* const list : {&in.partial, &in.full}) {
      for (const slab* each = list->first; each != nullptr; each = each->next) {
        std::uint32_t free_count = 0;
        for (std::uint32_t block = 0; block < each->block_count; ++block) free_count += each->is_free(block) ? 1U : 0U;
        if (free_count != each->free_count || (free_count == 0) != (list == &in.full)) return false;
        if (each->owner != &classes_[index].of || page_map::find(each->base) != each) return false;
        if (!each->free_blocks_have_no_owners()) return false;
        out += each->block_count - free_count;
        empties += free_count == each->block_count ? 1 : 0;
        ++slabs;
        resident_pages += each->resident_pages;
      }
    }
    if (out != in.blocks_out || slabs != in.slab_count || empties != in.empty_count) return false;
    charged += out * classes_[index].of.size;
  }
  if (resident_pages * page_size() != slab_resident_bytes_) return false;
  return charged == budget_.charged();
}

}  // namespace slabbuf::detail
