// SPDX-License-Identifier: MIT
#include "common/refusal_log.hpp"

#include <spdlog/spdlog.h>

#include <utility>

namespace slabbuf::examples {

void refusal_log::add(std::size_t connections_max) {
  ++count_;
  const auto now = std::chrono::steady_clock::now();
  if (now - logged_at_ < std::chrono::seconds(1)) return;
  logged_at_ = now;
  spdlog::warn("refused {} connections: --connections-max is {}", std::exchange(count_, 0), connections_max);
}

}  // namespace slabbuf::examples
