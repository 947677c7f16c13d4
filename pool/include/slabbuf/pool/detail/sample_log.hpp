// SPDX-License-Identifier: MIT
// What is remembered of sampled acquisitions: who holds which block, and which sizes were asked for.
// Threads: any. Everything but knows() takes a lock; knows() is one load.
// Lifetime: as the pool.
//
//     address --hash--> set | live | record | record | ... 8 |      512 sets, nothing allocated later
//
// A record outlives its buffer until its place is needed: a misuse found later can still say who had the
// block last. Where all records of a set are of buffers that are out, a sample is not kept, and counted.
//
// Sizes are counted in buckets of a sixteenth of a power of two; each remembers the largest size it has
// seen, so a table tuned for the histogram has room for every request in it.
#pragma once

#include <slabbuf/pool/provenance.hpp>
#include <slabbuf/pool/size_class.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace slabbuf::detail {

class sample_log {
 public:
  /// Throws std::bad_alloc. Each sample counts for `period` acquisitions.
  explicit sample_log(std::uint32_t period);

  /// Notes that the caller has acquired the block.
  void add(const void* data, std::size_t size, std::size_t class_size) noexcept;

  /// Notes that a block came back, if it was sampled.
  void returned(const void* data) noexcept {
    if (knows(data)) forget(data);
  }

  /// Notes that somebody who is not sampled has the block now: what is known of it is of an earlier one.
  void superseded(const void* data) noexcept;

  /// The last sampled holder of a block, whether it still has it or not. False: none is known.
  bool find(const void* data, provenance& last) const noexcept;

  /// The sampled buffers that are out, longest held first. Throws std::bad_alloc.
  std::vector<provenance> holders() const;

  /// The longest held one. False when none is out.
  bool oldest(provenance& held) const noexcept;

  /// The sizes asked for; the counts are estimates of all acquisitions. Throws std::bad_alloc.
  std::vector<size_class_table::size_count> sizes() const;

  /// Samples for which there was no place.
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

  std::uint32_t period() const noexcept { return period_; }

 private:
  static constexpr std::size_t set_count = 512;
  static constexpr std::size_t records_per_set = 8;
  static constexpr std::size_t buckets_per_octave = 16;
  static constexpr std::size_t bucket_count = 32 * buckets_per_octave;

  struct record {
    provenance what;
    bool out;
  };
  struct set {
    std::atomic<std::uint32_t> live{0};  // records whose buffers are out; written under the lock
    std::array<record, records_per_set> records{};
  };
  struct bucket {
    std::size_t size_largest;
    std::uint64_t count;
  };

  static std::size_t set_of(const void* data) noexcept;
  static std::size_t bucket_of(std::size_t size) noexcept;
  bool knows(const void* data) const noexcept { return sets_[set_of(data)].live.load(std::memory_order_relaxed) != 0; }
  void forget(const void* data) noexcept;

  const std::uint32_t period_;
  mutable std::mutex mutex_;
  const std::unique_ptr<set[]> sets_;
  const std::unique_ptr<bucket[]> buckets_;
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace slabbuf::detail
