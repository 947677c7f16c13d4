// SPDX-License-Identifier: MIT
// Connections that are refused, in the log: one line a second at most, however many there are.
// Threads: one.
#pragma once

#include <chrono>
#include <cstddef>

namespace slabbuf::examples {

class refusal_log {
 public:
  /// One more, because there are `connections_max`.
  void add(std::size_t connections_max);

 private:
  std::size_t count_ = 0;  // since that was last logged
  std::chrono::steady_clock::time_point logged_at_{};
};

}  // namespace slabbuf::examples
