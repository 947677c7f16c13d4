// SPDX-License-Identifier: MIT
// The shared level of a pool: slabs of every class, the budget, and oversize buffers.
// Threads: a shared depot from any thread, one lock per class and one for address space (taken in
// this order); an unshared one from one thread, without locks.
// Lifetime: belongs to one pool and dies with it, slabs and all.
//
// Blocks come and go in batches, so that a lock is taken once for many. The budget is charged when
// blocks leave the depot and refunded when they come back: it covers what is in use and what is
// cached above, as pool_options says.
//
// Invariants, per class: blocks_out == blocks in slabs - free bits; every slab with a free block is
// in `partial`, every other in `full`. For the depot: charged == sum of blocks_out x class size + oversize bytes.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/region.hpp>
#include <slabbuf/pool/detail/slab.hpp>
#include <slabbuf/pool/memory_budget.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace slabbuf::detail {

/// Why a request failed.
enum class refusal { none, budget, memory };

/// A mutex for the depots that are shared; nothing for the others.
class optional_mutex {
 public:
  void enable() noexcept { enabled_ = true; }
  void lock() {
    if (enabled_) mutex_.lock();
  }
  void unlock() {
    if (enabled_) mutex_.unlock();
  }

 private:
  std::mutex mutex_;
  bool enabled_ = false;
};

class depot {
 public:
  /// `classes` has `class_count` entries, ascending, and outlives the depot.
  depot(page_source& pages, std::size_t budget_bytes_max, const bin* classes, std::size_t class_count, bool shared);
  depot(const depot&) = delete;
  depot& operator=(const depot&) = delete;
  ~depot();

  struct batch {
    std::uint32_t count;  // at most what was asked for; 0: see `why`
    refusal why;
  };

  /// Takes up to `count` (at least one) blocks of class `index`. When the budget has no room for all
  /// of them, it takes one.
  batch take(std::size_t index, std::byte** blocks, std::uint32_t count) noexcept;

  /// Puts `count` blocks of class `index` back.
  void put(std::size_t index, std::byte* const* blocks, std::uint32_t count) noexcept;

  struct oversize_block {
    std::byte* data;  // null: see `why`
    refusal why;
  };

  /// A zero-filled buffer of at least `size` bytes straight from the page source.
  oversize_block take_oversize(std::size_t size, const block_class* owner) noexcept;

  /// Unmaps it. `record` is what the page map says of its address.
  void put_oversize(slab* record) noexcept;

  /// Gives memory of free blocks back to the system. Returns the bytes that may have been resident.
  std::size_t trim() noexcept;

  const memory_budget& budget() const noexcept { return budget_; }
  std::uint64_t blocks_out(std::size_t index) const noexcept;
  std::uint64_t slab_count(std::size_t index) const noexcept;
  std::uint64_t slab_bytes() const noexcept { return slab_bytes_.load(std::memory_order_relaxed); }

  struct oversize_counts {
    std::uint64_t acquired;
    std::uint64_t in_use;
    std::uint64_t in_use_bytes;
  };
  oversize_counts oversize() const noexcept;

  /// Whether the invariants above hold. Quiescent depots only; takes the locks.
  bool check_invariants() noexcept;

 private:
  // A line of its own each, so that threads in different classes do not disturb each other.
  struct alignas(64) class_depot {
    optional_mutex mutex;
    slab_list partial;                         // slabs with a free block, wholly free ones last
    slab_list full;                            // slabs without one
    std::uint32_t empty_count = 0;             // slabs with every block free
    std::atomic<std::uint64_t> blocks_out{0};  // relaxed: written under the mutex, read by stats
    std::atomic<std::uint64_t> slab_count{0};  // likewise
    slab_geometry geometry{};
  };

  slab* grow(class_depot& in, std::size_t index) noexcept;
  void retire(class_depot& in, slab* empty) noexcept;
  void put_one(class_depot& in, std::size_t index, std::byte* block) noexcept;

  page_source& pages_;
  memory_budget budget_;
  const bin* const classes_;
  const std::size_t class_count_;
  const std::unique_ptr<class_depot[]> depots_;

  optional_mutex region_mutex_;
  region_set regions_;
  std::atomic<std::uint64_t> slab_bytes_{0};

  std::atomic<std::uint64_t> oversize_acquired_{0};
  std::atomic<std::uint64_t> oversize_in_use_{0};
  std::atomic<std::uint64_t> oversize_bytes_{0};
};

}  // namespace slabbuf::detail
