// SPDX-License-Identifier: MIT
// Whether memory was cleared.
// Threads: any.
// Lifetime: nothing is kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace slabbuf::support {

inline bool is_zero(std::span<const std::byte> memory) {
  return std::all_of(memory.begin(), memory.end(), [](std::byte each) { return each == std::byte{0}; });
}

}  // namespace slabbuf::support
