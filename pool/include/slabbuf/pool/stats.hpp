// SPDX-License-Identifier: MIT
// What a pool has done and holds, at one moment.
// Threads: a plain value. Taking it (stats()) is allowed from any thread for a concurrent_pool and takes one
// lock, which acquire() and release() take only when a thread comes or goes and at the limit of the budget;
// nothing is allocated.
// Lifetime: a copy; it does not follow the pool.
//
// There is no figure for memory that is freed lazily: what goes back to the system goes at once
// (MADV_DONTNEED), so that the process is as large as it says.
//
// Laws, exact while no thread is inside the pool, else off by what is in flight:
//     acquired == released + in_use          acquired == hits + misses + oversize
//     bytes == (in use + cached, each block by its class size) + oversize_bytes <= budget_bytes_max
#pragma once

#include <slabbuf/pool/size_class.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace slabbuf {

/// One size class. Blocks unless the name says bytes.
struct class_stats {
  std::size_t size;          // of the class, in bytes
  std::uint64_t acquired;    // handed out, ever
  std::uint64_t released;    // come back, ever
  std::uint64_t hits;        // handed out from a cache
  std::uint64_t misses;      // handed out by the depot: the cache was empty
  std::uint64_t in_use;      // handed out and not come back
  std::uint64_t cached;      // free, in the caches of threads
  std::uint64_t slabs;       // slabs of this class
  std::uint64_t high_water;  // most blocks that were in use and cached at once
};

/// All classes together, and what belongs to none.
struct pool_stats {
  std::uint64_t acquired;          // buffers handed out, ever, oversize included
  std::uint64_t released;          // buffers come back, ever
  std::uint64_t hits;              // handed out from a cache
  std::uint64_t misses;            // handed out by the depot: the cache was empty
  std::uint64_t refused;           // requests that failed: no budget, no memory, or too large
  std::uint64_t in_use;            // buffers handed out and not come back, oversize included
  std::uint64_t in_use_bytes;      // the same by capacity
  std::uint64_t cached;            // free blocks in the caches of threads, and oversize buffers that are kept
  std::uint64_t cached_bytes;      // the same in bytes
  std::uint64_t slabs;             // slabs of all classes
  std::uint64_t slab_bytes;        // address space they cover; resident only where touched
  std::uint64_t resident_bytes;    // memory that may be there for the pool; its own bookkeeping apart
  std::uint64_t retained_bytes;    // address space without memory behind it: never touched, or given back
  std::uint64_t oversize;          // buffers larger than the largest class, ever
  std::uint64_t oversize_in_use;   // of those, not come back
  std::uint64_t oversize_bytes;    // the same in bytes, whole pages
  std::uint64_t uncached;          // operations of threads that could not have a cache
  std::uint64_t threads;           // threads that have a cache now
  std::uint64_t samples_dropped;   // sampled acquisitions for which there was no record left
  std::uint64_t bytes;             // what the budget counts: in use, cached and oversize
  std::uint64_t bytes_high_water;  // most that `bytes` ever was
  std::uint64_t budget_bytes_max;  // limit of `bytes`; SIZE_MAX: none
  std::uint64_t backing_refused;   // mappings and slabs, ever, without the backing asked for; all of the page source's

  std::size_t class_count;  // entries of `class_storage` that are set
  std::array<class_stats, size_class_table::count_max> class_storage;

  /// One entry for each class, ascending. Not of a temporary: what it refers to would be gone.
  std::span<const class_stats> classes() const& noexcept { return {class_storage.data(), class_count}; }
  std::span<const class_stats> classes() && = delete;
};

}  // namespace slabbuf
