// SPDX-License-Identifier: MIT
// Which bytes of a download are still missing, and who fetches which.
// Threads: one at a time.
// Lifetime: values; a range keeps its index as long as the plan is not made anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slabbuf::examples {

/// From `first` on, up to but not `end`.
struct byte_range {
  std::uint64_t first = 0;
  std::uint64_t end = 0;

  std::uint64_t size() const noexcept { return end - first; }
  bool operator==(const byte_range&) const = default;
};

/// No range is cut so that less than this is left: a request has its price.
inline constexpr std::uint64_t range_bytes_min = 1 << 20;

/// The ranges that `connections` fetch at the same time: those missing, the largest halved until there are as many.
std::vector<byte_range> divide(std::vector<byte_range> missing, std::size_t connections);

std::uint64_t total_bytes(const std::vector<byte_range>& ranges) noexcept;

}  // namespace slabbuf::examples
