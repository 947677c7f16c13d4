// SPDX-License-Identifier: MIT
#include <slabbuf/pool/size_class.hpp>

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
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

// Sizes ascending and distinct, 1 <= class_count <= their number. Dynamic programming: the best use of k
// classes for the first j sizes puts the last class at size j and leaves the rest to k - 1. Where that rest
// ends moves right with j (the waste satisfies the quadrangle inequality), so each row is filled by divide
// and conquer: k n log n steps.
class waste_table {
 public:
  explicit waste_table(const std::vector<size_class_table::size_count>& sizes) : sizes_(sizes) {
    for (const auto& each : sizes_) {
      counts_.push_back(counts_.back() + static_cast<double>(each.count));
      bytes_.push_back(bytes_.back() + static_cast<double>(each.count) * static_cast<double>(each.size));
    }
  }

  std::vector<std::size_t> least(std::size_t class_count) {
    const std::size_t n = sizes_.size();
    std::vector<double> before(n + 1, std::numeric_limits<double>::infinity());
    before[0] = 0;
    std::vector<std::vector<std::uint32_t>> starts(class_count, std::vector<std::uint32_t>(n + 1));
    for (std::size_t row = 0; row < class_count; ++row) {
      std::vector<double> now(n + 1, std::numeric_limits<double>::infinity());
      fill(before, now, starts[row], {1, n}, {0, n - 1});
      before = std::move(now);
    }
    std::vector<std::size_t> classes;
    for (std::size_t end = n, row = class_count; row-- > 0; end = starts[row][end])
      classes.push_back(sizes_[end - 1].size);
    std::reverse(classes.begin(), classes.end());
    return classes;
  }

 private:
  struct range {
    std::size_t first;
    std::size_t last;  // included
  };

  // Waste of one class for the sizes [first, end).
  double of(std::size_t first, std::size_t end) const {
    return static_cast<double>(sizes_[end - 1].size) * (counts_[end] - counts_[first]) - (bytes_[end] - bytes_[first]);
  }

  // The ends in `ends`, whose best starts lie in `candidates`.
  void fill(const std::vector<double>& before, std::vector<double>& now, std::vector<std::uint32_t>& starts, range ends,
            range candidates) const {
    const std::size_t end = (ends.first + ends.last) / 2;
    for (std::size_t start = candidates.first; start <= std::min(candidates.last, end - 1); ++start) {
      const double waste = before[start] + of(start, end);
      if (waste >= now[end]) continue;
      now[end] = waste;
      starts[end] = static_cast<std::uint32_t>(start);
    }
    // With no class left for the sizes before it, an end has no start: it says nothing about the others.
    const bool found = now[end] < std::numeric_limits<double>::infinity();
    if (ends.first < end) {
      fill(before, now, starts, {ends.first, end - 1}, {candidates.first, found ? starts[end] : candidates.last});
    }
    if (end < ends.last) {
      fill(before, now, starts, {end + 1, ends.last}, {found ? starts[end] : candidates.first, candidates.last});
    }
  }

  const std::vector<size_class_table::size_count>& sizes_;
  std::vector<double> counts_{0};  // of the sizes before each
  std::vector<double> bytes_{0};
};

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

size_class_table size_class_table::tune(std::span<const size_count> histogram, std::size_t classes_max) {
  if (classes_max == 0 || classes_max > count_max) {
    throw std::invalid_argument("size_class_table: " + std::to_string(classes_max) + " classes are not 1 to " +
                                std::to_string(count_max));
  }
  std::vector<size_count> sizes(histogram.begin(), histogram.end());
  std::erase_if(sizes, [](const size_count& each) { return each.count == 0; });
  std::sort(sizes.begin(), sizes.end(), [](const size_count& a, const size_count& b) { return a.size < b.size; });
  std::size_t distinct = 0;
  for (const size_count& each : sizes) {
    if (distinct != 0 && sizes[distinct - 1].size == each.size) {
      sizes[distinct - 1].count += each.count;
    } else {
      sizes[distinct++] = each;
    }
  }
  sizes.resize(distinct);
  if (sizes.empty()) throw std::invalid_argument("size_class_table: a histogram without requests");
  if (sizes.front().size == 0) throw std::invalid_argument("size_class_table: a histogram with a size of zero");

  return size_class_table(waste_table(sizes).least(std::min(classes_max, distinct)));
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
    const std::size_t smallest = (mantissa << shift) - bias;
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
