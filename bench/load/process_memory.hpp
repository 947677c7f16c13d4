// SPDX-License-Identifier: MIT
// How much memory of its own another process has resident, as the kernel counts it.
// Threads: any.
// Lifetime: a reading is a value.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <sys/types.h>

namespace slabbuf::bench {

struct memory_reading {
  std::uint64_t anonymous_bytes = 0;  // resident and not of a file: heap, stacks, pools
  std::string source;                 // the file and the line it is from
  bool settled = true;                // two readings in a row were equal
};

/// Reads /proc/PID/smaps_rollup, which counts pages; where that is not allowed or not there,
/// /proc/PID/status, which on some kernels lags by 64 pages for each thread. Throws std::runtime_error
/// when there is neither.
memory_reading read_process_memory(pid_t pid);

/// Reads until two readings in a row are equal, or the time is up: then the last one, not settled.
memory_reading read_settled_memory(pid_t pid, std::chrono::steady_clock::time_point until);

}  // namespace slabbuf::bench
