// SPDX-License-Identifier: MIT
// Counts of latencies, to ask for percentiles: every sample is counted, none is kept.
// Threads: one; give each thread its own and add() them up.
// Lifetime: a value of 15 KiB.
//
// Log-linear like HdrHistogram: 32 buckets for each power of two, so a percentile is at most 1/32
// (3.1 %) above the true one. The largest sample is kept exactly.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

class latency_histogram {
 public:
  void record(std::chrono::nanoseconds latency) noexcept {
    const auto latency_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(latency.count(), 0));
    ++buckets_[bucket_of(latency_ns)];
    ++count_;
    latency_ns_max_ = std::max(latency_ns_max_, latency_ns);
  }

  void add(const latency_histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) buckets_[bucket] += other.buckets_[bucket];
    count_ += other.count_;
    latency_ns_max_ = std::max(latency_ns_max_, other.latency_ns_max_);
  }

  /// The latency that `fraction` (0 .. 1) of the samples do not exceed; 0 when there are none.
  double quantile_us(double fraction) const noexcept {
    const auto rank = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
      seen += buckets_[bucket];
      if (seen >= rank && seen != 0) return static_cast<double>(std::min(end_of(bucket), latency_ns_max_)) / 1e3;
    }
    return 0;
  }

  double max_us() const noexcept { return static_cast<double>(latency_ns_max_) / 1e3; }
  std::uint64_t count() const noexcept { return count_; }

 private:
  static constexpr unsigned linear_bits = 5;  // 2^5 buckets for each power of two

  static std::size_t bucket_of(std::uint64_t value) noexcept {
    const unsigned width = static_cast<unsigned>(std::bit_width(value | (1U << linear_bits)));
    const unsigned shift = width - 1 - linear_bits;
    return (std::size_t{shift} << linear_bits) + (value >> shift);
  }
  // The largest value of a bucket.
  static std::uint64_t end_of(std::size_t bucket) noexcept {
    if (bucket < std::size_t{2} << linear_bits) return bucket;
    const std::size_t shift = (bucket >> linear_bits) - 1;
    return ((std::uint64_t{bucket} - (shift << linear_bits) + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - linear_bits + 1) << linear_bits> buckets_{};
  std::uint64_t count_ = 0;           // of all buckets
  std::uint64_t latency_ns_max_ = 0;  // largest recorded, exact
};

}  // namespace slabbuf::bench
