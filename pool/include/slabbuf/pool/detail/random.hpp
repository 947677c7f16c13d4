// SPDX-License-Identifier: MIT
// Random numbers for sampling: none that anybody must not guess.
// Threads: any.
// Lifetime: nothing is kept.
#pragma once

#include <cstdint>

namespace slabbuf::detail {

/// A number that has nothing to do with those for neighbouring values: SplitMix64 (Steele, Lea and Flood 2014).
constexpr std::uint64_t mixed(std::uint64_t value) noexcept {
  value += 0x9e37'79b9'7f4a'7c15;
  value = (value ^ (value >> 30)) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ (value >> 27)) * 0x94d0'49bb'1331'11eb;
  return value ^ (value >> 31);
}

/// Another one each time, in each process.
std::uint64_t fresh_seed() noexcept;

}  // namespace slabbuf::detail
