// SPDX-License-Identifier: MIT
// What this process takes from the system.
// Threads: any.
// Lifetime: a value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace slabbuf::examples {

struct process_usage {
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_descriptors = 0;
  std::uint64_t threads = 0;
  double cpu_s = 0;         // user and system, ever
  double started_at_s = 0;  // since the epoch
};

/// As of now; what /proc does not tell is 0.
process_usage usage_of_this_process();

}  // namespace slabbuf::examples
