// SPDX-License-Identifier: MIT
// Whether memory was cleared.
// Threads: any.
// Lifetime: nothing is kept.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace slabbuf::support {

inline bool is_zero(std::span<const std::byte> memory) {
  // The first byte is, and each is as the one before it: a loop takes most of a test's time where nothing is optimised.
  return memory.empty() ||
         (memory[0] == std::byte{0} && std::memcmp(memory.data(), memory.data() + 1, memory.size() - 1) == 0);
}

}  // namespace slabbuf::support
