// SPDX-License-Identifier: MIT
// A count that one thread keeps and others look at.
// Threads: add() from one, get() from any.
// Lifetime: its owner's.
#pragma once

#include <atomic>
#include <cstdint>

namespace slabbuf::examples {

class counter {
 public:
  // Two moves and an addition: a fetch_add() would lock the cache line against threads that never write it.
  void add(std::uint64_t count = 1) noexcept { value_.store(get() + count, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};  // nothing else is published by it
};

}  // namespace slabbuf::examples
