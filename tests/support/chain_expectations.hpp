// SPDX-License-Identifier: MIT
// What a chain must say of itself, and what is written into its room.
// Threads: as the chain.
// Lifetime: nothing is kept.
#pragma once

#include <slabbuf/pool/buffer_chain.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "support/chain_of_blocks.hpp"

namespace slabbuf::support {

inline std::span<const std::byte> bytes(std::string_view of) { return std::as_bytes(std::span(of)); }

/// Writes `with` into `room`, which must be large enough.
inline void fill(const buffer_chain::room_spans& room, std::string_view with) {
  for (const std::span<std::byte> each : room) {
    const std::size_t count = std::min(each.size(), with.size());
    std::memcpy(each.data(), with.data(), count);
    with.remove_prefix(count);
  }
  ASSERT_TRUE(with.empty()) << "no room for it";
}

inline std::size_t bytes_of(const buffer_chain::room_spans& room) {
  std::size_t sum = 0;
  for (const std::span<std::byte> each : room) sum += each.size();
  return sum;
}

/// Everything a chain says of itself, from every side.
inline void expect_shows(const buffer_chain& tested, const std::string& expected) {
  ASSERT_EQ(tested.size(), expected.size());
  ASSERT_EQ(tested.empty(), expected.empty());
  ASSERT_EQ(text_of(tested), expected);
  ASSERT_EQ(tested.spans().size(), tested.block_count());
  ASSERT_EQ(tested.pieces().size(), tested.block_count());
  std::size_t sum = 0;
  std::size_t index = 0;
  std::size_t pinned_bytes = 0;
  for (const buffer_chain::piece& each : tested.pieces()) {
    ASSERT_NE(each.size(), 0U) << "an empty piece";
    ASSERT_EQ(tested.spans()[index].data(), each.data());
    ASSERT_EQ(tested.spans()[index].size(), each.size());
    ASSERT_LE(each.written, each.capacity);
    sum += each.size();
    pinned_bytes += each.capacity;
    ++index;
  }
  ASSERT_EQ(sum, tested.size());
  ASSERT_EQ(tested.pinned_bytes(), pinned_bytes);
}

}  // namespace slabbuf::support
