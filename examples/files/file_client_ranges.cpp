// SPDX-License-Identifier: MIT
#include "files/file_client_ranges.hpp"

#include <algorithm>

namespace slabbuf::examples {

std::vector<byte_range> divide(std::vector<byte_range> missing, std::size_t connections) {
  std::erase_if(missing, [](const byte_range& each) { return each.size() == 0; });
  while (!missing.empty() && missing.size() < connections) {
    const auto largest = std::max_element(missing.begin(), missing.end(),
                                          [](const byte_range& a, const byte_range& b) { return a.size() < b.size(); });
    if (largest->size() < 2 * range_bytes_min) break;
    const std::uint64_t middle = largest->first + largest->size() / 2;
    const byte_range second{middle, largest->end};
    largest->end = middle;
    missing.insert(largest + 1, second);
  }
  return missing;
}

std::uint64_t total_bytes(const std::vector<byte_range>& ranges) noexcept {
  std::uint64_t sum = 0;
  for (const byte_range& each : ranges) sum += each.size();
  return sum;
}

}  // namespace slabbuf::examples
