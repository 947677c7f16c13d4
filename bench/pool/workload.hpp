// SPDX-License-Identifier: MIT
// The sizes a benchmark asks for, in which order, and from which classes: shared by the programs that
// measure time and the one that counts instructions.
// Threads: plain values.
// Lifetime: values.
#pragma once

#include <slabbuf/pool/size_class.hpp>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace slabbuf::bench {

enum class shape {
  in_turn,   // one buffer at a time
  together,  // all held, then all given back
  pressure,  // the same, half of them first, and a trim from time to time
};

struct workload {
  std::string name;
  std::vector<std::size_t> sizes;
  size_class_table classes{};
  bench::shape shape = bench::shape::in_turn;
};

/// 1,024 sizes: half 64..256 B, three of ten 1..4 KiB, two of ten 16..64 KiB. The same each time.
inline std::vector<std::size_t> mixed_sizes() {
  std::minstd_rand random(304);
  const auto between = [&](std::size_t least, std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(least, most)(random);
  };
  std::vector<std::size_t> sizes(1024);
  for (std::size_t& each : sizes) {
    const std::size_t kind = between(0, 9);
    each = kind < 5 ? between(64, 256) : kind < 8 ? between(1 << 10, 4 << 10) : between(16 << 10, 64 << 10);
  }
  return sizes;
}

inline std::vector<workload> workloads() {
  constexpr std::size_t kib = 1024;
  const std::vector<std::size_t> four{1 * kib, 4 * kib, 16 * kib, 64 * kib};
  const size_class_table four_classes(four);
  const std::vector<std::size_t> large{64 * kib, 128 * kib, 256 * kib, 512 * kib};
  std::vector<std::size_t> batch(50, 1 * kib);
  batch.resize(100, 4 * kib);
  std::vector<std::size_t> defaults;
  for (std::size_t size = 2; size <= 1024 * kib; size *= 2) defaults.push_back(size);
  return {
      {"BasicAllocation", four, four_classes},
      {"DirectAllocation", four, four_classes},
      {"SmallBuffers", {64, 128, 256, 512}},
      {"LargeBuffers", large, size_class_table(large)},
      {"ExactSizeMatch", four, four_classes},
      {"InexactSizeMatch", {512, 2 * kib, 8 * kib, 32 * kib}, four_classes},
      {"OversizedAllocation", {128 * kib, 256 * kib, 512 * kib, 1024 * kib}, four_classes},
      {"HighFrequency", {1 * kib}},
      {"BatchReuse", batch, {}, shape::together},
      {"MixedSizes", mixed_sizes()},
      {"DefaultConfig", defaults},
      {"MemoryPressure", std::vector<std::size_t>(50, 4 * kib), {}, shape::pressure},
      {"Comparison_SyncPool", {1 * kib}},
  };
}

}  // namespace slabbuf::bench
