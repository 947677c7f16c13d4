// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/slab.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <algorithm>
#include <bit>
#include <memory>
#include <new>

namespace slabbuf::detail {
namespace {

// Below this, clearing a whole block costs no more than keeping its extent would.
constexpr std::size_t units_class_size_min = 256;

// Slabs of small classes take one granule; larger ones hold about eight blocks, up to this size.
constexpr std::size_t blocks_per_slab_wanted = 8;
constexpr std::size_t span_bytes_usual_max = std::size_t{1} << 20;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

slab_geometry slab_geometry::of(std::size_t class_size) noexcept {
  const std::size_t divisor = std::size_t{1} << std::countr_zero(class_size);
  std::size_t alignment = std::min(divisor, page_size());
  if (class_size >= free_block::unit_bytes) alignment = std::max(alignment, free_block::unit_bytes);
  slab_geometry geometry{};
  geometry.stride = round_up(class_size, alignment);
  const std::size_t wanted = std::min(geometry.stride * blocks_per_slab_wanted, span_bytes_usual_max);
  geometry.span_bytes = round_up(std::max(wanted, geometry.stride), granule_bytes);
  geometry.block_count = static_cast<std::uint32_t>(geometry.span_bytes / geometry.stride);
  return geometry;
}

slab* slab::make(std::byte* base, bool dirty, const slab_geometry& geometry, const block_class& owner) noexcept {
  const std::size_t word_count = (geometry.block_count + 63) / 64;
  const std::size_t unit_count = owner.size >= units_class_size_min ? geometry.block_count : 0;
  const bool whole_pages = geometry.stride % page_size() == 0;
  const std::size_t bitmap_count = whole_pages ? 2 : 1;
  const std::size_t record_bytes =
      sizeof(slab) + bitmap_count * word_count * sizeof(std::uint64_t) + unit_count * sizeof(std::uint16_t);
  void* const memory = ::operator new(record_bytes, std::nothrow);
  if (memory == nullptr) return nullptr;

  auto* const made = new (memory) slab{};
  made->base = base;
  made->owner = &owner;
  made->stride = geometry.stride;
  made->span_bytes = geometry.span_bytes;
  made->block_count = geometry.block_count;
  made->free_count = geometry.block_count;
  made->touched = dirty && owner.units_mask != 0;  // under zeroing::none nothing is ever cleared
  made->free_bits = reinterpret_cast<std::uint64_t*>(made + 1);
  std::uninitialized_fill_n(made->free_bits, word_count, ~std::uint64_t{0});
  if (geometry.block_count % 64 != 0) made->free_bits[word_count - 1] >>= 64 - geometry.block_count % 64;
  if (whole_pages) {
    made->resident_bits = made->free_bits + word_count;
    // What an earlier slab of this run has touched may be resident, block by block.
    if (dirty) {
      std::uninitialized_copy_n(made->free_bits, word_count, made->resident_bits);
    } else {
      std::uninitialized_fill_n(made->resident_bits, word_count, std::uint64_t{0});
    }
  }
  if (unit_count != 0) {
    made->units = reinterpret_cast<std::uint16_t*>(made->free_bits + bitmap_count * word_count);
    std::uninitialized_fill_n(made->units, unit_count,
                              static_cast<std::uint16_t>(made->touched ? free_block::units_whole : 0));
  }
  return made;
}

void slab::destroy(slab* dying) noexcept {
  dying->~slab();
  ::operator delete(dying);
}

std::uint32_t slab::take(free_block* blocks, std::uint32_t count) noexcept {
  std::uint32_t taken = 0;
  used = true;
  while (taken < count && free_count != 0) {
    while (free_bits[hint] == 0) ++hint;  // free_count says there is one
    std::uint64_t word = free_bits[hint];
    const std::uint64_t before = word;
    while (word != 0 && taken < count) {
      const std::uint32_t index = hint * 64 + static_cast<std::uint32_t>(std::countr_zero(word));
      word &= word - 1;
      blocks[taken++] = free_block(base + index * stride, units_of(index));
      --free_count;
    }
    free_bits[hint] = word;
    if (resident_bits != nullptr) resident_bits[hint] |= before & ~word;
  }
  return taken;
}

bool slab::put(free_block block) noexcept {
  const std::uint32_t index = index_of(block.data());
  if (index == block_count || is_free(index)) return false;
  free_bits[index / 64] |= std::uint64_t{1} << (index % 64);
  hint = std::min(hint, index / 64);
  ++free_count;
  if (units != nullptr) units[index] = static_cast<std::uint16_t>(block.units());
  touched = touched || block.units() != 0;
  return true;
}

std::size_t slab::purge(page_source& pages) noexcept {
  if (resident_bits == nullptr) return 0;
  std::size_t purged_bytes = 0;
  const std::uint32_t word_count = (block_count + 63) / 64;
  for (std::uint32_t word = 0; word < word_count; ++word) {
    for (std::uint64_t left = free_bits[word] & resident_bits[word]; left != 0; left &= left - 1) {
      const std::uint32_t index = word * 64 + static_cast<std::uint32_t>(std::countr_zero(left));
      if (!pages.purge(base + index * stride, stride)) continue;
      resident_bits[word] &= ~(left & -left);
      units[index] = 0;
      purged_bytes += stride;
    }
  }
  return purged_bytes;
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
