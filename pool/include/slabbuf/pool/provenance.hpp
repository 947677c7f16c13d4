// SPDX-License-Identifier: MIT
// Who holds a buffer, and since when: of the acquisitions that were sampled.
// Threads: a plain value.
// Lifetime: a copy; it does not follow the buffer.
//
// Switched on by pool_options::sample_period. Stamped anew at every checkout, so that what it says is
// of the present holder, not of whoever had the block first. Between samples nothing is recorded and
// nothing is paid.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace slabbuf {

struct provenance {
  const void* data;                             // start of the block
  std::size_t size;                             // bytes asked for
  std::size_t class_size;                       // bytes there are
  std::chrono::steady_clock::time_point since;  // when it was acquired
  std::int64_t thread;                          // the system's number of the thread that did
  std::array<void*, 14> frames;                 // return addresses, innermost first
  std::size_t frame_count;                      // entries of `frames` that are set

  /// Where it was acquired, innermost caller first.
  std::span<void* const> calls() const noexcept { return {frames.data(), frame_count}; }
};

/// One paragraph a holder: what, how long before `now`, which thread, and where, by symbols as far as
/// the program has them (link with -rdynamic for its own).
std::string to_text(std::span<const provenance> holders,
                    std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

}  // namespace slabbuf
