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

depot::depot(page_source& pages, std::size_t budget_bytes_max, const bin* classes, std::size_t class_count, bool shared)
    : pages_(pages),
      budget_(budget_bytes_max),
      classes_(classes),
      class_count_(class_count),
      depots_(new class_depot[class_count]),
      regions_(pages) {
  for (std::size_t index = 0; index < class_count_; ++index) {
    depots_[index].geometry = slab_geometry::of(classes_[index].of.size);
    if (shared) depots_[index].mutex.enable();
  }
  if (shared) region_mutex_.enable();
}

depot::~depot() {
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
      taken += from->take(blocks + taken, count - taken);
      if (from->free_count == 0) {
        in.partial.remove(from);
        in.full.push_front(from);
      }
    }
    add(in.blocks_out, taken);
  }
  if (taken < count) budget_.refund(size * (count - taken));
  return {taken, taken == 0 ? refusal::memory : refusal::none};
}

void depot::put(std::size_t index, std::byte* const* blocks, std::uint32_t count) noexcept {
  class_depot& in = depots_[index];
  {
    const std::lock_guard lock(in.mutex);
    for (std::uint32_t each = 0; each < count; ++each) put_one(in, index, blocks[each]);
    subtract(in.blocks_out, count);
  }
  budget_.refund(classes_[index].of.size * count);
}

void depot::put_one(class_depot& in, std::size_t index, std::byte* block) noexcept {
  slab* const to = page_map::find(block);
  // A block that was put twice may find its slab gone, or another in its place.
  const bool known = to != nullptr && to->owner == &classes_[index].of;
  const bool was_full = known && to->free_count == 0;
  if (!known || !to->put(block)) [[unlikely]]
    report_misuse({misuse::double_put, block, 0, classes_[index].of.size});
  if (to->free_count == to->block_count) {
    (was_full ? in.full : in.partial).remove(to);
    if (in.empty_count == empty_slabs_kept) {
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
  }
  if (run.base == nullptr) return nullptr;
  slab* const made = slab::make(run.base, run.resident, in.geometry, classes_[index].of);
  if (made == nullptr || !page_map::set(run.base, span_bytes, made)) {
    if (made != nullptr) slab::destroy(made);
    const std::lock_guard lock(region_mutex_);
    regions_.free(run.base, span_bytes, run.resident);
    return nullptr;
  }
  in.partial.push_front(made);
  ++in.empty_count;
  add(in.slab_count, 1);
  add(slab_bytes_, span_bytes);
  return made;
}

// Takes a slab that is in no list, every block free, apart.
void depot::retire(class_depot& in, slab* empty) noexcept {
  page_map::clear(empty->base, empty->span_bytes);
  {
    const std::lock_guard lock(region_mutex_);
    regions_.free(empty->base, empty->span_bytes, empty->resident());
  }
  subtract(in.slab_count, 1);
  subtract(slab_bytes_, empty->span_bytes);
  slab::destroy(empty);
}

depot::oversize_block depot::take_oversize(std::size_t size, const block_class* owner) noexcept {
  const std::size_t page = page_size();
  if (size > SIZE_MAX - page) return {nullptr, refusal::budget};
  const std::size_t bytes = (size + page - 1) / page * page;
  if (!budget_.try_charge(bytes)) return {nullptr, refusal::budget};

  void* const memory = pages_.map(bytes, granule_bytes);
  if (memory == nullptr) {
    budget_.refund(bytes);
    return {nullptr, refusal::memory};
  }
  auto* const base = static_cast<std::byte*>(memory);
  if (!page_map::can_find(base, bytes)) {
    pages_.unmap(memory, bytes);
    budget_.refund(bytes);
    return {nullptr, refusal::memory};
  }
  const slab_geometry geometry{.stride = bytes, .span_bytes = bytes, .block_count = 1};
  slab* const record = slab::make(base, false, geometry, *owner);
  if (record == nullptr || !page_map::set(base, bytes, record)) {
    if (record != nullptr) slab::destroy(record);
    pages_.unmap(memory, bytes);
    budget_.refund(bytes);
    return {nullptr, refusal::memory};
  }
  add(oversize_acquired_, 1);
  add(oversize_in_use_, 1);
  add(oversize_bytes_, bytes);
  return {base, refusal::none};
}

void depot::put_oversize(slab* record) noexcept {
  const std::size_t bytes = record->span_bytes;
  std::byte* const base = record->base;
  page_map::clear(base, bytes);
  slab::destroy(record);
  pages_.unmap(base, bytes);
  subtract(oversize_in_use_, 1);
  subtract(oversize_bytes_, bytes);
  budget_.refund(bytes);
}

std::size_t depot::trim() noexcept {
  std::size_t trimmed_bytes = 0;
  for (std::size_t index = 0; index < class_count_; ++index) {
    class_depot& in = depots_[index];
    const std::lock_guard lock(in.mutex);
    for (slab* each = in.partial.first; each != nullptr;) {
      slab* const next = each->next;
      if (each->free_count == each->block_count) {
        in.partial.remove(each);
        --in.empty_count;
        retire(in, each);
      } else {
        trimmed_bytes += each->purge(pages_);
      }
      each = next;
    }
  }
  const std::lock_guard lock(region_mutex_);
  return trimmed_bytes + regions_.purge();
}

std::uint64_t depot::blocks_out(std::size_t index) const noexcept {
  return depots_[index].blocks_out.load(std::memory_order_relaxed);
}

std::uint64_t depot::slab_count(std::size_t index) const noexcept {
  return depots_[index].slab_count.load(std::memory_order_relaxed);
}

depot::oversize_counts depot::oversize() const noexcept {
  return {oversize_acquired_.load(std::memory_order_relaxed), oversize_in_use_.load(std::memory_order_relaxed),
          oversize_bytes_.load(std::memory_order_relaxed)};
}

bool depot::check_invariants() noexcept {
  std::uint64_t charged = oversize().in_use_bytes;
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
        out += each->block_count - free_count;
        empties += free_count == each->block_count ? 1 : 0;
        ++slabs;
      }
    }
    if (out != in.blocks_out || slabs != in.slab_count || empties != in.empty_count) return false;
    charged += out * classes_[index].of.size;
  }
  return charged == budget_.charged();
}

}  // namespace slabbuf::detail
