// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/slab.hpp>

#include <slabbuf/pool/detail/memory_marks.hpp>
#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <memory>
#include <new>

namespace slabbuf::detail {
namespace {

// Slabs of small classes take one granule; larger ones hold about eight blocks, up to this size.
constexpr std::size_t blocks_per_slab_wanted = 8;
constexpr std::size_t span_bytes_usual_max = std::size_t{1} << 20;

constexpr std::uint32_t canary_bytes_usual = 16;

constexpr std::size_t words_for(std::size_t bits) noexcept { return (bits + 63) / 64; }

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

// The bits [first, last) of `words`.
template <class Action>
void for_each_word(std::size_t first, std::size_t last, Action action) noexcept {
  while (first < last) {
    const std::size_t count = std::min(last - first, 64 - first % 64);
    action(first / 64, (~std::uint64_t{0} >> (64 - count)) << (first % 64));
    first += count;
  }
}

// Returns how many of them were clear.
std::uint32_t set_bits(std::uint64_t* words, std::size_t first, std::size_t last) noexcept {
  int changed = 0;
  for_each_word(first, last, [&](std::size_t word, std::uint64_t mask) {
    changed += std::popcount(mask & ~words[word]);
    words[word] |= mask;
  });
  return static_cast<std::uint32_t>(changed);
}

void clear_bits(std::uint64_t* words, std::size_t first, std::size_t last) noexcept {
  for_each_word(first, last, [words](std::size_t word, std::uint64_t mask) { words[word] &= ~mask; });
}

bool test_bit(const std::uint64_t* words, std::size_t index) noexcept {
  return (words[index / 64] >> (index % 64) & 1) != 0;
}

}  // namespace

std::size_t slab_geometry::alignment_of(std::size_t class_size, std::size_t alignment) noexcept {
  const std::size_t divisor = std::size_t{1} << std::countr_zero(class_size);
  const std::size_t natural = std::min(divisor, page_size());
  return class_size >= alignment ? std::max(natural, alignment) : natural;
}

slab_geometry slab_geometry::of(std::size_t class_size, hardening level, std::size_t alignment) noexcept {
  slab_geometry geometry{};
  geometry.checked = level != hardening::off;
  geometry.canary_bytes = level == hardening::full ? canary_bytes_usual : 0;
  geometry.stride = round_up(class_size + geometry.canary_bytes, alignment_of(class_size, alignment));
  const std::size_t wanted = std::min(geometry.stride * blocks_per_slab_wanted, span_bytes_usual_max);
  geometry.span_bytes = round_up(std::max(wanted, geometry.stride), granule_bytes);
  geometry.block_count = static_cast<std::uint32_t>(geometry.span_bytes / geometry.stride);
  return geometry;
}

slab* slab::make(std::byte* base, bool resident, const slab_geometry& geometry, const block_class& owner) noexcept {
  const std::size_t block_words = words_for(geometry.block_count);
  const std::size_t page_count = geometry.span_bytes / page_size();
  const std::size_t page_words = words_for(page_count);
  const std::size_t block_arrays = geometry.checked ? 3 : 2;
  void* const memory =
      ::operator new(sizeof(slab) + (block_arrays * block_words + page_words) * sizeof(std::uint64_t), std::nothrow);
  if (memory == nullptr) return nullptr;

  auto* const made = new (memory) slab{};
  made->base = base;
  made->owner = &owner;
  made->stride = geometry.stride;
  made->span_bytes = geometry.span_bytes;
  made->block_count = geometry.block_count;
  made->free_count = geometry.block_count;
  made->free_bits = reinterpret_cast<std::uint64_t*>(made + 1);
  made->lent_bits = made->free_bits + block_words;
  made->resident_bits = made->free_bits + block_arrays * block_words;
  made->canary_bytes = geometry.canary_bytes;
  if (geometry.checked) {
    made->out_bits = made->lent_bits + block_words;
    std::uninitialized_fill_n(made->out_bits, block_words, std::uint64_t{0});
  }
  std::uninitialized_fill_n(made->free_bits, block_words, ~std::uint64_t{0});
  if (geometry.block_count % 64 != 0) made->free_bits[block_words - 1] >>= 64 - geometry.block_count % 64;
  std::uninitialized_fill_n(made->lent_bits, block_words, std::uint64_t{0});
  std::uninitialized_fill_n(made->resident_bits, page_words, std::uint64_t{0});
  if (resident) made->resident_pages = set_bits(made->resident_bits, 0, page_count);
  return made;
}

void slab::destroy(slab* dying) noexcept {
  mark_readable(dying->base, dying->span_bytes, true);  // whoever has the addresses next
  std::free(dying->shared.load(std::memory_order_relaxed));
  dying->~slab();
  ::operator delete(dying);
}

std::uint32_t slab::take(std::byte** blocks, std::uint32_t count) noexcept {
  std::uint32_t taken = 0;
  while (taken < count && free_count != 0) {
    while (free_bits[hint] == 0) ++hint;  // free_count says there is one
    const std::uint32_t index = hint * 64 + static_cast<std::uint32_t>(std::countr_zero(free_bits[hint]));
    free_bits[hint] &= free_bits[hint] - 1;
    --free_count;
    const std::size_t offset = index * stride;
    blocks[taken++] = base + offset;
    resident_pages += set_bits(resident_bits, offset / page_size(), (offset + stride - 1) / page_size() + 1);
  }
  used = true;
  return taken;
}

bool slab::put(const std::byte* block, bool counts_as_use) noexcept {
  const std::uint32_t index = index_of(block);
  if (index == block_count || is_free(index)) return false;
  free_bits[index / 64] |= std::uint64_t{1} << (index % 64);
  hint = std::min(hint, index / 64);
  ++free_count;
  used = used || counts_as_use;
  return true;
}

std::size_t slab::purge(page_source& pages) noexcept {
  std::size_t purged_bytes = 0;
  const std::size_t page = page_size();
  for (std::uint32_t index = 0; index < block_count;) {
    const std::uint32_t first = index;
    while (index < block_count && is_free(index)) ++index;
    if (index == first) {
      ++index;
      continue;
    }
    // Pages that lie wholly in this run of free blocks; what follows the last block belongs to none.
    const std::size_t end = index == block_count ? span_bytes : index * stride;
    const std::size_t last_page = end / page;
    for (std::size_t at = round_up(first * stride, page) / page; at < last_page;) {
      const std::size_t first_page = at;
      while (at < last_page && test_bit(resident_bits, at)) ++at;
      if (at == first_page) {
        ++at;
        continue;
      }
      const std::size_t bytes = (at - first_page) * page;
      if (!pages.purge(base + first_page * page, bytes)) continue;
      clear_bits(resident_bits, first_page, at);
      resident_pages -= static_cast<std::uint32_t>(at - first_page);
      purged_bytes += bytes;
    }
  }
  return purged_bytes;
}

block_owners* slab::make_owners(std::uint32_t index) noexcept {
  // calloc: a slab of the smallest class needs 256 KiB, of which only the pages that are used become resident.
  auto* made = static_cast<block_owners*>(std::calloc(block_count, sizeof(block_owners)));
  if (made == nullptr) return nullptr;
  block_owners* there = nullptr;
  if (!shared.compare_exchange_strong(there, made, std::memory_order_acq_rel, std::memory_order_acquire)) {
    std::free(made);  // another thread was first
    made = there;
  }
  return made + index;
}

bool slab::free_blocks_have_no_owners() const noexcept {
  block_owners* const all = shared.load(std::memory_order_acquire);
  for (std::uint32_t index = 0; all != nullptr && index < block_count; ++index) {
    const std::atomic_ref<std::uint32_t> count(all[index].count);
    if (is_free(index) && count.load(std::memory_order_relaxed) != 0) return false;
  }
  return true;
}

std::uint32_t slab::index_of(const std::byte* address) const noexcept {
  const std::size_t offset = static_cast<std::size_t>(address - base);
  const std::size_t index = offset / stride;
  return index < block_count && index * stride == offset ? static_cast<std::uint32_t>(index) : block_count;
}

void slab_list::push_front(slab* added) noexcept {
  added->previous = nullptr;
  added->next = first;
  (first != nullptr ? first->previous : last) = added;
  first = added;
}

void slab_list::push_back(slab* added) noexcept {
  added->next = nullptr;
  added->previous = last;
  (last != nullptr ? last->next : first) = added;
  last = added;
}

void slab_list::remove(slab* removed) noexcept {
  (removed->previous != nullptr ? removed->previous->next : first) = removed->next;
  (removed->next != nullptr ? removed->next->previous : last) = removed->previous;
}

}  // namespace slabbuf::detail
