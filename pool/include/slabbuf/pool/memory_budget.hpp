// SPDX-License-Identifier: MIT
// A limit in bytes that is never exceeded, and what is charged against it.
// Threads: every function may be called from any thread.
// Lifetime: belongs to one pool.
//
// Invariant: charged() <= bytes_max() at every moment, as seen by every thread.
// Cost: one compare-and-swap per charge; pools charge when blocks move in batches, not per buffer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf {

class memory_budget {
 public:
  /// No limit.
  static constexpr std::size_t unlimited = SIZE_MAX;

  explicit memory_budget(std::size_t bytes_max) noexcept : bytes_max_(bytes_max) {}
  memory_budget(const memory_budget&) = delete;
  memory_budget& operator=(const memory_budget&) = delete;

  /// Takes `bytes` from the budget, or returns false and takes nothing.
  bool try_charge(std::size_t bytes) noexcept;

  /// Gives back what try_charge() took.
  void refund(std::size_t bytes) noexcept { charged_.fetch_sub(bytes); }

  std::size_t charged() const noexcept { return charged_.load(std::memory_order_relaxed); }
  std::size_t charged_high_water() const noexcept { return high_water_.load(std::memory_order_relaxed); }
  std::size_t bytes_max() const noexcept { return bytes_max_; }
  std::size_t available() const noexcept { return bytes_max_ == unlimited ? unlimited : bytes_max_ - charged(); }

 private:
  // These are counts: the memory they stand for is handed from thread to thread under the depot's locks,
  // which order everything else. Sequentially consistent where it is charged and refunded, all the same:
  // whoever waits for the budget must not miss a refund (pool_core.hpp).
  const std::size_t bytes_max_;
  std::atomic<std::size_t> charged_{0};
  std::atomic<std::size_t> high_water_{0};
};

}  // namespace slabbuf
