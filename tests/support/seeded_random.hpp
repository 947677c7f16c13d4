// SPDX-License-Identifier: MIT
// Random numbers that are the same in every run; a failing test prints the seed.
// Threads: one object, one thread. Local variables only: the trace follows the scope.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace slabbuf::support {

class seeded_random {
 public:
  explicit seeded_random(std::uint64_t seed, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : engine_(seed), trace_(file, line, "random seed " + std::to_string(seed)) {}

  /// A number from `low` to `high`, both included.
  std::size_t between(std::size_t low, std::size_t high) {
    // Not uniform_int_distribution: that one differs from library to library.
    return low + static_cast<std::size_t>(engine_() % (std::uint64_t{high} - low + 1));
  }

  /// Spread over the orders of magnitude: as many below 2^8 as between 2^8 and 2^16.
  std::size_t magnitude(unsigned bits_max) { return between(0, (std::size_t{1} << between(0, bits_max)) - 1); }

  bool one_in(std::size_t count) { return between(1, count) == 1; }

  std::uint64_t bits() { return engine_(); }

 private:
  std::mt19937_64 engine_;
  ::testing::ScopedTrace trace_;
};

}  // namespace slabbuf::support
