// SPDX-License-Identifier: MIT
// From any address to the slab that contains it: how a buffer finds its way home by provenance.
// Threads: find() from any thread, without a lock; set() and clear() by whoever owns the range.
// Lifetime: one map per process, never destroyed; entries live from set() to clear().
//
// A two-level table over 64 KiB granules, the smallest unit slabs are made of:
//
//     47            32 31            16 15             0
//     | root index     | leaf index     | in granule    |      leaves of 512 KiB are made on first
//                                                              use, cover 4 GiB each, stay for ever
//
// Cost of find(): two dependent loads and three shifts; the answer for an address no pool owns is
// null, for every bit pattern.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf::detail {

struct slab;

inline constexpr std::size_t granule_bytes = std::size_t{64} << 10;

class page_map {
 public:
  /// Whether the map can hold all of a mapping: addresses of 48 bits. User space stays below that unless
  /// asked not to (5-level paging, with a hint).
  static bool can_find(const void* base, std::size_t size) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(base);
    return begin < address_end && size <= address_end - begin;
  }
  static constexpr std::uintptr_t address_end = std::uintptr_t{1} << 48;

  static slab* find(const void* address) noexcept {
    const auto bits = reinterpret_cast<std::uintptr_t>(address);
    if ((bits >> 48) != 0) [[unlikely]]
      return nullptr;
    // Acquire pairs with the release in set(): who sees the leaf sees its zeroes, who sees the slab
    // sees its fields.
    leaf* const found = root_[bits >> 32].load(std::memory_order_acquire);
    if (found == nullptr) [[unlikely]]
      return nullptr;
    return entry(found, bits).load(std::memory_order_acquire);
  }

  /// Makes every granule of [base, base + bytes) belong to `owner`. False when the table needs
  /// memory and there is none: then nothing changed. `base` is a multiple of granule_bytes.
  static bool set(const std::byte* base, std::size_t bytes, slab* owner) noexcept;

  /// Forgets what set() said.
  static void clear(const std::byte* base, std::size_t bytes) noexcept;

 private:
  // Plain pointers, reached through atomic_ref only: a leaf is mapped memory, used as it arrives.
  struct leaf {
    slab* slabs[std::size_t{1} << 16];
  };

  static std::atomic_ref<slab*> entry(leaf* in, std::uintptr_t bits) noexcept {
    return std::atomic_ref<slab*>(in->slabs[(bits >> 16) & 0xffff]);
  }
  static leaf* leaf_for(std::uintptr_t bits) noexcept;

  static std::atomic<leaf*> root_[std::size_t{1} << 16];
};

}  // namespace slabbuf::detail
