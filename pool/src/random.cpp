// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/random.hpp>

#include <atomic>
#include <chrono>

namespace slabbuf::detail {

std::uint64_t fresh_seed() noexcept {
  static constinit std::atomic<std::uint64_t> count{0};
  const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return mixed(now ^ mixed(count.fetch_add(1, std::memory_order_relaxed)));
}

}  // namespace slabbuf::detail
