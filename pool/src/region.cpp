// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/region.hpp>

#include <algorithm>
#include <memory>
#include <new>

namespace slabbuf::detail {

// Growth, run search and purging are paths of microseconds: a flag a granule keeps them plain.
struct region {
  std::byte* base = nullptr;
  std::size_t granule_count = 0;
  std::size_t used_count = 0;
  std::unique_ptr<bool[]> used;
  std::unique_ptr<bool[]> resident;
  region* next = nullptr;
};

namespace {

constexpr std::size_t no_run = SIZE_MAX;

std::size_t find_run(const region& in, std::size_t granule_count) noexcept {
  if (in.granule_count - in.used_count < granule_count) return no_run;
  std::size_t free_count = 0;
  for (std::size_t index = 0; index < in.granule_count; ++index) {
    free_count = in.used[index] ? 0 : free_count + 1;
    if (free_count == granule_count) return index + 1 - granule_count;
  }
  return no_run;
}

region* map_region(std::size_t granule_count, page_source& pages) noexcept {
  std::unique_ptr<region> made(new (std::nothrow) region);
  if (made == nullptr) return nullptr;
  made->used.reset(new (std::nothrow) bool[granule_count]());
  made->resident.reset(new (std::nothrow) bool[granule_count]());
  if (made->used == nullptr || made->resident == nullptr) return nullptr;
  const std::size_t size = granule_count * granule_bytes;
  void* const memory = pages.map(size, granule_bytes);
  if (memory == nullptr) return nullptr;
  if (!page_map::can_find(memory, size)) {
    pages.unmap(memory, size);
    return nullptr;
  }
  made->base = static_cast<std::byte*>(memory);
  made->granule_count = granule_count;
  return made.release();
}

// Purges what is free and resident, one call for each run of neighbours, after the first `kept_bytes`,
// which it lowers by what it has left.
std::size_t purge_granules(region& in, page_source& pages, std::size_t& kept_bytes) noexcept {
  std::size_t purged_bytes = 0;
  for (std::size_t index = 0; index < in.granule_count; ++index) {
    if (kept_bytes >= granule_bytes) {
      if (!in.used[index] && in.resident[index]) kept_bytes -= granule_bytes;
      continue;
    }
    const std::size_t start = index;
    while (index < in.granule_count && !in.used[index] && in.resident[index]) ++index;
    const std::size_t bytes = (index - start) * granule_bytes;
    if (bytes == 0 || !pages.purge(in.base + start * granule_bytes, bytes)) continue;
    std::fill(in.resident.get() + start, in.resident.get() + index, false);
    purged_bytes += bytes;
  }
  return purged_bytes;
}

}  // namespace

region_set::~region_set() {
  while (first_ != nullptr) {
    region* const dying = first_;
    first_ = dying->next;
    pages_.unmap(dying->base, dying->granule_count * granule_bytes);
    delete dying;
  }
}

region_set::run region_set::allocate(std::size_t bytes) noexcept {
  const std::size_t granule_count = bytes / granule_bytes;
  region* from = first_;
  std::size_t start = no_run;
  for (; from != nullptr; from = from->next) {
    start = find_run(*from, granule_count);
    if (start != no_run) break;
  }
  if (from == nullptr) {
    from = grow(granule_count);
    if (from == nullptr) return {nullptr, false};
    start = 0;
  }
  bool resident = false;
  for (std::size_t index = start; index < start + granule_count; ++index) {
    resident = resident || from->resident[index];
    if (from->resident[index]) idle_bytes_ -= granule_bytes;
    from->used[index] = true;
  }
  idle_bytes_low_ = std::min(idle_bytes_low_, idle_bytes_);
  from->used_count += granule_count;
  used_bytes_ += bytes;
  return {from->base + start * granule_bytes, resident};
}

void region_set::free(std::byte* base, std::size_t bytes, bool resident) noexcept {
  region* const in = find(base);
  const std::size_t start = static_cast<std::size_t>(base - in->base) / granule_bytes;
  const std::size_t granule_count = bytes / granule_bytes;
  for (std::size_t index = start; index < start + granule_count; ++index) {
    in->used[index] = false;
    in->resident[index] = resident;
  }
  if (resident) idle_bytes_ += bytes;
  in->used_count -= granule_count;
  used_bytes_ -= bytes;
}

std::size_t region_set::purge(std::size_t kept_bytes) noexcept {
  std::size_t purged_bytes = 0;
  for (region** link = &first_; *link != nullptr;) {
    region& each = **link;
    if (each.used_count == 0 && kept_bytes < granule_bytes) {
      const auto resident_count = std::count(each.resident.get(), each.resident.get() + each.granule_count, true);
      purged_bytes += static_cast<std::size_t>(resident_count) * granule_bytes;
      const std::size_t size = each.granule_count * granule_bytes;
      *link = each.next;
      pages_.unmap(each.base, size);
      mapped_bytes_ -= size;
      delete &each;
      continue;
    }
    purged_bytes += purge_granules(each, pages_, kept_bytes);
    link = &each.next;
  }
  idle_bytes_ -= purged_bytes;
  idle_bytes_low_ = std::min(idle_bytes_low_, idle_bytes_);
  return purged_bytes;
}

// What is handed out first lies first in the list, and is kept.
std::size_t region_set::purge_unneeded() noexcept {
  const std::size_t purged_bytes = idle_bytes_low_ != 0 ? purge(idle_bytes_ - idle_bytes_low_) : 0;
  idle_bytes_low_ = idle_bytes_;
  return purged_bytes;
}

region* region_set::grow(std::size_t granule_count) noexcept {
  constexpr std::size_t usual_count = region_bytes / granule_bytes;
  constexpr std::size_t huge_page_count = huge_page_bytes / granule_bytes;
  // Large runs get a region of their own, of whole huge pages, because others cannot be reserved.
  const std::size_t whole_count = (granule_count + huge_page_count - 1) / huge_page_count * huge_page_count;
  const std::size_t wanted_count = std::max(usual_count, whole_count);
  region* made = map_region(wanted_count, pages_);
  // So does every run where address space is scarce (RLIMIT_AS).
  if (made == nullptr && granule_count < wanted_count) made = map_region(granule_count, pages_);
  if (made == nullptr) return nullptr;
  made->next = first_;
  first_ = made;
  mapped_bytes_ += made->granule_count * granule_bytes;
  return made;
}

region* region_set::find(const std::byte* base) const noexcept {
  region* each = first_;
  while (base < each->base || base >= each->base + each->granule_count * granule_bytes) each = each->next;
  return each;
}

}  // namespace slabbuf::detail
