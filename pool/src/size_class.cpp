// SPDX-License-Identifier: MIT
#include <slabbuf/pool/size_class.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace slabbuf {
namespace {

std::vector<std::size_t> doublings(std::size_t smallest, std::size_t largest) {
  if (!std::has_single_bit(smallest) || !std::has_single_bit(largest) || smallest > largest) {
    throw std::invalid_argument("size_class_table: " + std::to_string(smallest) + " .. " + std::to_string(largest) +
                                " is not a range of powers of two");
  }
  std::vector<std::size_t> sizes;
  for (std::size_t size = smallest; size < largest; size *= 2) sizes.push_back(size);
  sizes.push_back(largest);
  return sizes;
}

}  // namespace

size_class_table::size_class_table() : size_class_table(doublings(2, std::size_t{1} << 20)) {}

size_class_table::size_class_table(std::initializer_list<std::size_t> sizes)
    : size_class_table(std::span<const std::size_t>(sizes.begin(), sizes.size())) {}

size_class_table::size_class_table(std::span<const std::size_t> sizes) {
  if (sizes.empty()) throw std::invalid_argument("size_class_table: no sizes");
  if (sizes.size() > count_max) {
    throw std::invalid_argument("size_class_table: " + std::to_string(sizes.size()) + " sizes, at most " +
                                std::to_string(count_max) + " are allowed");
  }
  std::size_t before = 0;
  for (const std::size_t size : sizes) {
    if (size == 0) throw std::invalid_argument("size_class_table: a size of zero");
    if (size > size_max) {
      throw std::invalid_argument("size_class_table: " + std::to_string(size) + " is above the largest size allowed, " +
                                  std::to_string(size_max));
    }
    if (size <= before) {
      throw std::invalid_argument("size_class_table: " + std::to_string(size) + " after " + std::to_string(before) +
                                  " is not ascending");
    }
    before = size;
  }
  count_ = sizes.size();
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  largest_ = before;
  build();
}

size_class_table size_class_table::powers_of_two(std::size_t smallest, std::size_t largest) {
  return size_class_table(doublings(smallest, largest));
}

std::size_t size_class_table::size_of(std::size_t index) const {
  if (index >= count_) {
    throw std::out_of_range("size_class_table: class " + std::to_string(index) + " of " + std::to_string(count_));
  }
  return sizes_[index];
}

void size_class_table::build() {
  for (unsigned mantissa_bits = 0; mantissa_bits <= mantissa_bits_max; ++mantissa_bits) {
    if (fill_buckets(mantissa_bits)) return;
  }
  // Too dense for one comparison: the buckets of the last round stand, the rest is a search.
}

// Returns whether at most one class ends inside each bucket.
bool size_class_table::fill_buckets(unsigned mantissa_bits) {
  mantissa_bits_ = mantissa_bits;
  bias_ = std::size_t{1} << mantissa_bits;
  const std::size_t bucket_count = bucket_of(largest_) + 1;
  first_.fill(0);
  // Backwards, so that the smallest class that ends in or after a bucket is the one that stays.
  std::array<std::uint8_t, bucket_count_max> ends{};
  for (std::size_t index = count_; index-- > 0;) {
    const std::size_t bucket = bucket_of(sizes_[index]);
    first_[bucket] = static_cast<std::uint8_t>(index);
    ++ends[bucket];
  }
  for (std::size_t bucket = bucket_count - 1; bucket-- > 0;) {
    if (ends[bucket] == 0) first_[bucket] = first_[bucket + 1];
  }
  return std::all_of(ends.begin(), ends.end(), [](std::uint8_t count) { return count <= 1; });
}

std::size_t size_class_table::index_in_dense_bucket(std::size_t size) const noexcept {
  const auto* const begin = sizes_.data();
  return static_cast<std::size_t>(std::lower_bound(begin, begin + count_, size) - begin);
}

}  // namespace slabbuf
