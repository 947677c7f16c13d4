// SPDX-License-Identifier: MIT
// The shared level of a pool: slabs of every class, the budget, and oversize buffers.
// Threads: a shared depot from any thread, one lock per class and one for address space and idle oversize
// buffers (taken in this order); an unshared one from one thread, without locks.
// Lifetime: belongs to one pool and dies with it, slabs and all.
//
// Blocks come and go in batches, so that a lock is taken once for many. The budget is charged when
// blocks leave the depot and refunded when they come back: it covers what is in use and what is
// cached above, as pool_options says.
//
// An oversize buffer that comes back is kept for the next one of about its size, within a cap, because
// mapping and touching pages costs some hundred times as much as handing them on.
//
// Invariants, per class: blocks_out == blocks in slabs - free bits; every slab with a free block is
// in `partial`, every other in `full`. For the depot: charged == sum of blocks_out x class size + oversize bytes,
// those in use and those kept.
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
  /// `classes` has `class_count` entries, ascending, and outlives the depot. `oversize_kept_bytes_max`: of
  /// idle oversize buffers.
  depot(page_source& pages, std::size_t budget_bytes_max, const bin* classes, std::size_t class_count, bool shared,
        std::size_t oversize_kept_bytes_max = 0, hardening level = hardening::off,
        std::size_t alignment = block_alignment);
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

  /// Puts `count` blocks of class `index` back. `lay_idle`: in a cache, so that this is no use of theirs.
  void put(std::size_t index, std::byte* const* blocks, std::uint32_t count, bool lay_idle = false) noexcept;

  struct oversize_block {
    std::byte* data;  // null: see `why`
    refusal why;
  };

  /// A buffer of at least `size` bytes: one that was kept and is at most a quarter larger, else zero pages
  /// straight from the page source.
  oversize_block take_oversize(std::size_t size, const block_class* owner) noexcept;

  /// Takes one back, as clear as its pool promises if keeps_oversize() of its size. `record` is what the page
  /// map says of its address.
  void put_oversize(slab* record) noexcept;

  /// Whether a buffer of that many bytes may be kept.
  bool keeps_oversize(std::size_t bytes) const noexcept { return bytes <= oversize_kept_bytes_max_; }

  /// Unmaps the oversize buffers that are kept; with `only_idle`, those kept since that was asked last.
  /// Returns their bytes.
  std::size_t drop_oversize(bool only_idle) noexcept;

  /// Gives memory of free blocks back to the system: all of it, or what was not needed since that was asked
  /// last. Returns the bytes that may have been resident.
  std::size_t trim(bool only_idle = false) noexcept;

  const memory_budget& budget() const noexcept { return budget_; }

  /// Most blocks that were ever out of the depot at once.
  std::uint64_t blocks_out_high_water(std::size_t index) const noexcept;
  /// Bytes that may be resident, and address space without memory behind it.
  std::uint64_t resident_bytes() const noexcept;
  std::uint64_t retained_bytes() const noexcept;
  std::uint64_t blocks_out(std::size_t index) const noexcept;
  std::uint64_t slab_count(std::size_t index) const noexcept;
  std::uint64_t backing_refused() const noexcept { return pages_.refused(); }
  std::uint64_t slab_bytes() const noexcept { return slab_bytes_.load(std::memory_order_relaxed); }

  struct oversize_counts {
    std::uint64_t acquired;
    std::uint64_t in_use;
    std::uint64_t in_use_bytes;
    std::uint64_t kept;
    std::uint64_t kept_bytes;
  };
  oversize_counts oversize() const noexcept;

  /// Whether the invariants above hold. Quiescent depots only; takes the locks.
  bool check_invariants() noexcept;

 private:
  // A line of its own each, so that threads in different classes do not disturb each other.
  struct alignas(64) class_depot {
    optional_mutex mutex;
    slab_list partial;                             // slabs with a free block, wholly free ones last
    slab_list full;                                // slabs without one
    std::uint32_t empty_count = 0;                 // slabs with every block free
    std::atomic<std::uint64_t> blocks_out{0};      // relaxed: written under the mutex, read by stats
    std::atomic<std::uint64_t> out_high_water{0};  // likewise
    std::atomic<std::uint64_t> slab_count{0};      // likewise
    slab_geometry geometry{};
  };

  slab* grow(class_depot& in, std::size_t index) noexcept;
  void retire(class_depot& in, slab* empty) noexcept;
  void put_one(class_depot& in, std::size_t index, std::byte* block, bool lay_idle) noexcept;
  void note_region() noexcept;
  slab* map_oversize(std::size_t bytes, const block_class* owner) noexcept;
  slab* take_kept(std::size_t bytes) noexcept;
  void unkeep(slab* record) noexcept;
  void unmap_oversize(slab* record) noexcept;
  std::size_t unmap_all(slab_list& records) noexcept;

  page_source& pages_;
  memory_budget budget_;
  const bin* const classes_;
  const std::size_t class_count_;
  const std::unique_ptr<class_depot[]> depots_;

  optional_mutex region_mutex_;
  region_set regions_;
  slab_list oversize_kept_;  // the newest first
  std::atomic<std::uint64_t> slab_bytes_{0};
  std::atomic<std::uint64_t> slab_resident_bytes_{0};
  std::atomic<std::uint64_t> idle_bytes_{0};    // as regions_ says: resident, in no slab
  std::atomic<std::uint64_t> mapped_bytes_{0};  // as regions_ says

  const std::size_t oversize_kept_bytes_max_;
  const hardening level_;
  std::atomic<std::uint64_t> oversize_kept_count_{0};
  std::atomic<std::uint64_t> oversize_kept_bytes_{0};
  std::atomic<std::uint64_t> oversize_acquired_{0};
  std::atomic<std::uint64_t> oversize_in_use_{0};
  std::atomic<std::uint64_t> oversize_bytes_{0};
};

}  // namespace slabbuf::detail
