// SPDX-License-Identifier: MIT
// The sizes a pool cuts its blocks to, and which of them serves a request.
// Threads: immutable after construction; any number of threads may read one table.
// Lifetime: a value, no allocation outlives it. A pool keeps a copy.
//
// Lookup costs ten instructions. A size falls into a bucket made of its binary exponent and the three
// bits below it, the scheme of floating point (HdrHistogram calls it log-linear):
//
//     size + 8   1 x x x | x x x x x x          bucket = exponent : mantissa
//                `--m--'   ignored
//
// Each bucket names the smallest class that can serve its smallest size; where one class ends inside
// a bucket, a comparison settles the rest. Buckets in which more than one ends (tables denser than
// four to eight classes a doubling) and those above the largest class name no class at all: they lead off the
// fast path, to a binary search of at most seven steps.
#pragma once

#include <array>
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

  /// How often a size was asked for.
  struct size_count {
    std::size_t size;  // in bytes
    std::uint64_t count;
  };

  /// The table of at most `classes_max` classes in which the requests of `histogram` waste the least: the
  /// sum of class size - size over all of them is minimal. The histogram may be in any order and name a
  /// size more than once; its largest size is the largest class. Takes time in n log n of its sizes, and
  /// allocates. Throws std::invalid_argument when the histogram has no requests, a size is zero or above
  /// size_max, or `classes_max` is not 1 .. count_max; std::bad_alloc.
  static size_class_table tune(std::span<const size_count> histogram, std::size_t classes_max);

  std::size_t count() const noexcept { return count_; }

  /// Bytes in class `index`. Throws std::out_of_range when there is no such class.
  std::size_t size_of(std::size_t index) const;

  /// Bytes in the largest class.
  std::size_t largest() const noexcept { return largest_; }

  /// Index of the smallest class of at least `size` bytes; npos when even the largest is smaller.
  std::size_t find(std::size_t size) const noexcept {
    const std::size_t index = index_for(size);
    return index != count_ ? index : find_slow(size);
  }

  /// Index of the class of exactly `size` bytes, or npos.
  std::size_t find_exact(std::size_t size) const noexcept {
    const std::size_t index = find(size);
    return index != npos && sizes_[index] == size ? index : npos;
  }

  /// As find(), or count() where that takes a search or finds nothing: what a fast path indexes an
  /// array of count() + 1 elements with.
  [[gnu::always_inline]] std::size_t index_for(std::size_t size) const noexcept {
    // The bias gives every size an exponent of at least 3. A size so large that it wraps around gets a
    // smaller one, and a bucket that names no class.
    const std::size_t biased = size + bias;
    const std::size_t exponent = exponent_of(biased);
    std::size_t index = first_[exponent * 8 + (biased >> ((exponent - 3) & 63))];
    index += static_cast<std::size_t>(sizes_[index] < size);
    return index;
  }

 private:
  static constexpr std::size_t bias = 8;
  // Exponents up to 63, eight buckets each; the leading one of the mantissa adds eight.
  static constexpr std::size_t bucket_count = 64 * 8 + 8;

  /// The index of the highest bit set; of zero, 0.
  [[gnu::always_inline]] static std::size_t exponent_of(std::size_t value) noexcept {
#if defined(__x86_64__) && !defined(__LZCNT__)
    // bsr leaves its destination alone when the source is zero, so it waits for whatever was there
    // before, and compilers do not break that dependency: here it was the block of the request before,
    // and a lookup took three times as long.
    std::size_t exponent = 0;
    asm("bsrq %1, %0" : "+r"(exponent) : "r"(value) : "cc");
    return exponent;
#else
    return 63 ^ static_cast<std::size_t>(__builtin_clzll(value | 1));
#endif
  }
  void fill_buckets() noexcept;
  std::size_t find_slow(std::size_t size) const noexcept;

  std::size_t largest_ = 0;                         // sizes_[count_ - 1]
  std::size_t count_ = 0;                           // classes; 1 .. count_max
  std::array<std::uint8_t, bucket_count> first_{};  // bucket -> first class that may serve, or count_
  std::array<std::size_t, count_max + 1> sizes_{};  // ascending; from count_ on SIZE_MAX, which serves all
};

}  // namespace slabbuf
