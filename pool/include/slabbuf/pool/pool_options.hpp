// SPDX-License-Identifier: MIT
// How a pool is set up, and how it says no.
// Threads: plain values; a pool copies what it needs when it is constructed.
// Lifetime: `pages` must outlive the pool; nothing else is kept by reference.
#pragma once

#include <slabbuf/pool/memory_budget.hpp>
#include <slabbuf/pool/page_source.hpp>
#include <slabbuf/pool/size_class.hpp>
#include <slabbuf/pool/zeroing.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>

namespace slabbuf {

/// What a pool checks of every block that goes out and comes back. What it finds goes to the misuse
/// handler (failure.hpp). bench/README.md says what each level costs.
enum class hardening {
  /// What is found for nothing: a raw block put twice, to the wrong pool, at the wrong address or with too
  /// large a size; any block put twice, once it gets back to its slab.
  off,
  /// Also, at once and for every holder (memory of handlers and containers, too): a block that is not
  /// out. And that the first and last 64 bytes of a free block are zero, as nobody may have written to it.
  /// A constant cost per operation. Oversize buffers are not looked at: their pages go back to the system.
  cheap,
  /// Also that all bytes of a free block are zero, and a canary behind each block, for which a block takes
  /// 16 bytes and its alignment more; the block that was free the longest goes out first, so that writes
  /// through a kept pointer have time to be seen. A cost in proportion to the block.
  full,
};

struct pool_options {
  /// The sizes blocks are cut to.
  size_class_table size_classes{};

  /// What a fresh buffer contains. Hardened pools clear at least what dirty_extent says.
  zeroing zero = zeroing::dirty_extent;

  /// Most bytes that buffers in use, blocks in caches and oversize buffers may take together; never
  /// exceeded. At least one block of the smallest class, or the pool's constructor throws
  /// std::invalid_argument.
  std::size_t budget_bytes_max = memory_budget::unlimited;

  /// Most bytes of free blocks one thread keeps at hand, over all classes (a local_pool counts as
  /// one thread). Blocks of larger classes go straight back. With a budget, a thread keeps at most
  /// 1/16 of it and all threads 1/4, so that caches cannot starve the pool. As much again, once a pool, is
  /// kept in oversize buffers that came back, and half of it of each class waits, uncharged, beside its slabs for
  /// the next thread that asks. 0 switches all of it off.
  std::size_t cache_bytes_max = std::size_t{2} << 20;

  /// Blocks of at least this size are aligned to it (and to the largest power of two that divides their class, at
  /// most a page): a power of two from 16 to 64, or the pool's constructor throws std::invalid_argument. With 64,
  /// no two blocks share a cache line; with less, classes need not be multiples of 64.
  std::size_t block_alignment = 64;

  /// What lies beneath the pool's memory; pool_stats::backing_refused counts what was not to be had.
  page_backing backing{};

  /// Where memory comes from; null means a system_page_source of the pool's own, as `backing` says. Another
  /// source has a backing of its own: to set both is a mistake, and the pool's constructor throws
  /// std::invalid_argument.
  page_source* pages = nullptr;

  /// Memory that was not needed for so long goes back to the system when decay() is called (by a timer or
  /// whenever convenient: net::decay_timer does it); after twice that, none is left. Zero switches it off.
  std::chrono::milliseconds decay{10'000};

  /// What is checked of every block.
  hardening harden = hardening::off;

  /// One in so many acquisitions, at random, is sampled: who holds the buffer (holders()), which size was
  /// asked for (size_histogram()). 1 samples every one; 0, none. Takes about 1 MiB.
  std::uint32_t sample_period = 0;
};

/// The most bytes one buffer may have. Larger requests are refused: single operations of Asio misreport
/// from 2 GiB on (chriskohlhoff/asio#1443), and a handle keeps its size in 31 bits.
inline constexpr std::size_t buffer_bytes_max = 0x7fff'ffff;

/// acquire() could not. Says how many bytes were asked for. What it says is kept inside: no
/// allocation, nothing thrown by copying.
class acquire_failed : public std::bad_alloc {
 public:
  acquire_failed(const char* reason, std::size_t requested_bytes, std::size_t limit_bytes) noexcept;

  const char* what() const noexcept override { return message_; }
  std::size_t requested_bytes() const noexcept { return requested_bytes_; }
  /// The limit that was in the way; 0 when there was none and the system refused.
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }

 protected:
  /// Its text says how much of the limit is taken, too.
  acquire_failed(const char* reason, std::size_t requested_bytes, std::size_t limit_bytes,
                 std::size_t taken_bytes) noexcept;

 private:
  std::size_t requested_bytes_;
  std::size_t limit_bytes_;
  char message_[160];
};

/// The budget has no room: as soon as buffers come back, the same request may succeed (unless can_ever_have() says no).
class budget_exceeded : public acquire_failed {
 public:
  budget_exceeded(std::size_t requested_bytes, std::size_t budget_bytes_max) noexcept
      : acquire_failed("finds no room in the budget of", requested_bytes, budget_bytes_max) {}
  /// Says how many bytes of the budget were taken when it was refused, too.
  budget_exceeded(std::size_t requested_bytes, std::size_t budget_bytes_max, std::size_t taken_bytes) noexcept
      : acquire_failed("finds no room in the budget of", requested_bytes, budget_bytes_max, taken_bytes) {}
};

}  // namespace slabbuf
