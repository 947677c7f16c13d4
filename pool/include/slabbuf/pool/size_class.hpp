// SPDX-License-Identifier: MIT
// The sizes a pool cuts its blocks to, and which of them serves a request.
// Threads: immutable after construction; any number of threads may read one table.
// Lifetime: a value, no allocation outlives it. A pool keeps a copy.
//
// Lookup costs a handful of instructions whatever the table. A size falls into a bucket made of its
// binary exponent and the `mantissa_bits_` bits below it, the scheme of floating point (HdrHistogram
// calls it log-linear):
//
//     size + 2^m   1 x x | x x x x x x x          m = mantissa_bits_
//                  `-m-'   ignored                bucket = exponent : mantissa
//
// Each bucket names the smallest class that can serve its smallest size. At most one class ends
// inside a bucket, because m is chosen so; then one comparison settles the rest. Tables so dense
// that no m up to 5 is enough search among the classes of the bucket, at most 8 steps.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace slabbuf {

class size_class_table {
 public:
  /// What find() and find_exact() return when no class serves.
  static constexpr std::size_t npos = SIZE_MAX;
  /// More classes than any allocator uses; keeps a class index in a byte and a snapshot on the stack.
  static constexpr std::size_t count_max = 128;
  /// Bytes in the largest class a table may have.
  static constexpr std::size_t size_max = std::size_t{1} << 30;

  /// The 20 powers of two from 2 B to 1 MiB.
  size_class_table();

  /// Ascending class sizes in bytes. Throws std::invalid_argument, naming the fault, when there are
  /// none, too many, or one is zero, above size_max or not above the one before it.
  size_class_table(std::initializer_list<std::size_t> sizes);
  explicit size_class_table(std::span<const std::size_t> sizes);

  /// Every power of two from `smallest` to `largest`, both powers of two and both included.
  /// Throws std::invalid_argument otherwise.
  static size_class_table powers_of_two(std::size_t smallest, std::size_t largest);

  std::size_t count() const noexcept { return count_; }

  /// Bytes in class `index`. Throws std::out_of_range when there is no such class.
  std::size_t size_of(std::size_t index) const;

  /// Bytes in the largest class.
  std::size_t largest() const noexcept { return largest_; }

  /// Index of the smallest class of at least `size` bytes; npos when even the largest is smaller.
  std::size_t find(std::size_t size) const noexcept {
    const std::size_t index = index_for(size);
    return index == count_ ? npos : index;
  }

  /// Index of the class of exactly `size` bytes, or npos.
  std::size_t find_exact(std::size_t size) const noexcept {
    const std::size_t index = index_for(size);
    return sizes_[index] == size ? index : npos;
  }

  /// As find(), with count() instead of npos: an index every array of count() + 1 elements has.
  std::size_t index_for(std::size_t size) const noexcept {
    if (size > largest_) [[unlikely]]
      return count_;
    std::size_t index = first_[bucket_of(size)];
    index += static_cast<std::size_t>(sizes_[index] < size);
    if (sizes_[index] < size) [[unlikely]]
      return index_in_dense_bucket(size);
    return index;
  }

 private:
  std::size_t bucket_of(std::size_t size) const noexcept {
    // The bias makes every exponent at least m: shifting m + 1 bits out leaves the exponent above m.
    const std::size_t biased = size + bias_;
    const auto shift = static_cast<unsigned>(std::bit_width(biased >> mantissa_bits_ >> 1U));
    return (std::size_t{shift} << mantissa_bits_) + (biased >> shift);
  }
  void build();
  bool fill_buckets(unsigned mantissa_bits);
  std::size_t index_in_dense_bucket(std::size_t size) const noexcept;

  static constexpr unsigned mantissa_bits_max = 5;
  // The bucket of size_max, the largest there is, and the ones before it: exponents above m, and the
  // 2m values that m bits and the leading one can have.
  static constexpr std::size_t bucket_count_max =
      ((std::size_t{30} - mantissa_bits_max) << mantissa_bits_max) + (std::size_t{2} << mantissa_bits_max);

  unsigned mantissa_bits_ = 0;                          // m of the picture
  std::size_t bias_ = 1;                                // 2^m
  std::size_t largest_ = 0;                             // sizes_[count_ - 1]
  std::size_t count_ = 0;                               // classes; 1 .. count_max
  std::array<std::uint8_t, bucket_count_max> first_{};  // bucket -> first class that may serve
  std::array<std::size_t, count_max + 1> sizes_{};      // [count_] is 0: no size equals it
};

}  // namespace slabbuf
