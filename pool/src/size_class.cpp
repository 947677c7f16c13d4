// SPDX-License-Identifier: MIT
#include <slabbuf/pool/size_class.hpp>

#include <algorithm>
#include <bit>
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
  sizes_.fill(SIZE_MAX);
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  largest_ = before;
  fill_buckets();
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

void size_class_table::fill_buckets() noexcept {
  const auto class_for = [&](std::size_t size) {
    return static_cast<std::size_t>(std::lower_bound(sizes_.begin(), sizes_.end(), size) - sizes_.begin());
  };
  first_.fill(static_cast<std::uint8_t>(count_));
  for (std::size_t bucket = 4 * bias; bucket < bucket_count; ++bucket) {
    const std::size_t exponent = bucket / 8 - 1;
    const std::size_t shift = exponent - 3;
    const std::size_t mantissa = bucket - exponent * 8;  // 8 .. 15
    // Biased sizes are odd: without a shift, an odd one stands for itself and the even one before it.
    const std::size_t smallest = (mantissa << shift) - bias - (shift == 0 && mantissa % 2 != 0 ? 1 : 0);
    const std::size_t largest = (mantissa << shift) - bias + ((std::size_t{1} << shift) - 1);
    const std::size_t first = class_for(smallest);
    if (first < count_ && class_for(largest) - first <= 1) first_[bucket] = static_cast<std::uint8_t>(first);
  }
}

std::size_t size_class_table::find_slow(std::size_t size) const noexcept {
  if (size > largest_) return npos;
  return static_cast<std::size_t>(std::lower_bound(sizes_.begin(), sizes_.end(), size) - sizes_.begin());
}

}  // namespace slabbuf
