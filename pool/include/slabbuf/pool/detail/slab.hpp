// SPDX-License-Identifier: MIT
// One run of address space cut into equal blocks, and the record that says which of them are free.
// Threads: the depot holds the lock of the slab's class around every call, but for those about owners
// and lent and out bits; `base`, `owner` and the geometry never change while the slab is in the page map,
// so anyone may read those.
// Lifetime: from make() to destroy(); the record lives apart from the blocks it describes.
//
//     record (heap)   | slab | free bits | lent bits | out bits: 1 a block | resident bits: 1 a page |
//                        |
//                        v base
//     run (region)    | block 0 | block 1 | ... | block n-1 | rest |      stride = class size, rounded
//                                                                         up to the block alignment
//     shared (heap)   | owners of block 0 | ... | of block n-1 |   made when the first of them is shared
//
// Nothing is ever written into a free block: it is cleared when it comes back (zeroing.hpp), and stays
// as it is until it is taken.
// Invariants: free_count == number of free bits; a block is free here, or in one cache, or in use; a free block
// counts no owners.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/page_source.hpp>
#include <slabbuf/pool/pool_options.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace slabbuf::detail {

/// How blocks of one class lie in memory.
struct slab_geometry {
  std::size_t stride;              // bytes from one block to the next
  std::size_t span_bytes;          // of the whole slab: a multiple of granule_bytes
  std::uint32_t block_count;       // blocks in a slab
  std::uint32_t canary_bytes = 0;  // behind each block
  bool checked = false;            // whether a slab has out bits

  /// A multiple of the alignment: the largest power of two that divides the class size, at most a
  /// page, and at least `alignment` from that size on. Room for a canary behind each block where `level` has one.
  static slab_geometry of(std::size_t class_size, hardening level = hardening::off,
                          std::size_t alignment = block_alignment) noexcept;

  /// That alignment.
  static std::size_t alignment_of(std::size_t class_size, std::size_t alignment = block_alignment) noexcept;
};

/// Of a block that has had several owners at once: see block_owner.hpp. Atomic, by way of atomic_ref.
struct block_owners {
  std::uint32_t count;    // those there are; 0 when the only owner does not count
  std::uint32_t written;  // bytes from the start that those who left may have written
};

struct slab {
  std::byte* base;           // first block
  const block_class* owner;  // class and pool
  std::size_t stride;
  std::size_t span_bytes;
  std::uint32_t block_count;
  std::uint32_t free_count;
  std::uint32_t hint;                 // no free bit in the words before this one
  std::uint32_t canary_bytes;         // behind each block
  std::uint32_t resident_pages;       // set bits in resident_bits
  bool used;                          // since idle() was asked last
  std::uint64_t* free_bits;           // block_count bits, 1 = free
  std::uint64_t* lent_bits;           // block_count bits, 1 = out by get_buffer(); atomic
  std::uint64_t* out_bits;            // block_count bits, 1 = out; atomic; null in pools that are not hardened
  std::uint64_t* resident_bits;       // one for each page of the run, 1 = may be resident
  std::atomic<block_owners*> shared;  // one for each block; null until the first of them is shared
  slab* previous;                     // in the depot's list
  slab* next;

  /// A slab with every block free over the run at `base`; `resident` when the run may be. Null when
  /// there is no memory for the record.
  static slab* make(std::byte* base, bool resident, const slab_geometry& geometry, const block_class& owner) noexcept;
  static void destroy(slab* dying) noexcept;

  /// Takes up to `count` free blocks, lowest address first. Returns how many.
  std::uint32_t take(std::byte** blocks, std::uint32_t count) noexcept;

  /// Puts one block back. False when it is free already or is no block of this slab. `counts_as_use`: false for
  /// a block that lay idle in a cache.
  bool put(const std::byte* block, bool counts_as_use = true) noexcept;

  /// Hands the memory of pages without a block in use back to the system. Returns the bytes that may
  /// have been resident.
  std::size_t purge(page_source& pages) noexcept;

  /// Whether any page may be resident.
  bool resident() const noexcept { return resident_pages != 0; }

  /// Whether no block has come or gone since this was asked last.
  bool idle() noexcept { return !std::exchange(used, false); }

  /// Notes that block `index` has an owner that must put it back by its address. False when it has one
  /// already.
  bool lend(std::uint32_t index) noexcept { return set(lent_bits, index); }
  /// The reverse. False when it has none.
  bool reclaim_lent(std::uint32_t index) noexcept { return clear(lent_bits, index); }

  /// Notes that block `index` is out. False when it was, or is no block.
  bool check_out(std::uint32_t index) noexcept { return index < block_count && set(out_bits, index); }
  /// Whether it is.
  bool is_out(std::uint32_t index) const noexcept {
    const std::atomic_ref<std::uint64_t> word(out_bits[index / 64]);
    return (word.load(std::memory_order_relaxed) >> (index % 64) & 1) != 0;
  }
  /// The reverse of check_out(). False when it was not.
  bool check_in(std::uint32_t index) noexcept { return clear(out_bits, index); }

  /// The record of block `index` for several owners: zero at first. Null when there is no memory for it.
  block_owners* owners_of(std::uint32_t index) noexcept {
    // Acquire pairs with the release in make_owners(): who sees the array sees its zeroes.
    block_owners* const all = shared.load(std::memory_order_acquire);
    if (all != nullptr) [[likely]]
      return all + index;
    return make_owners(index);
  }

  /// For check_invariants().
  bool free_blocks_have_no_owners() const noexcept;

  /// Index of the block that starts at `address`, or block_count when none does.
  std::uint32_t index_of(const std::byte* address) const noexcept;

  bool is_free(std::uint32_t index) const noexcept { return (free_bits[index / 64] >> (index % 64) & 1) != 0; }

 private:
  block_owners* make_owners(std::uint32_t index) noexcept;
  // Both return whether that changed anything.
  static bool set(std::uint64_t* bits, std::uint32_t index) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    return (std::atomic_ref<std::uint64_t>(bits[index / 64]).fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  }
  static bool clear(std::uint64_t* bits, std::uint32_t index) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    return (std::atomic_ref<std::uint64_t>(bits[index / 64]).fetch_and(~bit, std::memory_order_relaxed) & bit) != 0;
  }
};

/// Slabs in one state. Does not own them.
struct slab_list {
  slab* first = nullptr;
  slab* last = nullptr;

  void push_front(slab* added) noexcept;
  void push_back(slab* added) noexcept;
  void remove(slab* removed) noexcept;
};

}  // namespace slabbuf::detail
