// SPDX-License-Identifier: MIT
#include <slabbuf/pool/memory_budget.hpp>

namespace slabbuf {

bool memory_budget::try_charge(std::size_t bytes) noexcept {
  std::size_t before = charged_.load();
  do {
    if (bytes > bytes_max_ - before) return false;
  } while (!charged_.compare_exchange_weak(before, before + bytes));

  std::size_t high_water = high_water_.load(std::memory_order_relaxed);
  while (high_water < before + bytes &&
         !high_water_.compare_exchange_weak(high_water, before + bytes, std::memory_order_relaxed)) {
  }
  return true;
}

}  // namespace slabbuf
