// SPDX-License-Identifier: MIT
// A snapshot of a pool as text: for Prometheus, for programs, for people.
// Threads: functions of values; they allocate the string they return.
// Lifetime: the string is the caller's.
//
// Names and units are the same in all of them and those of stats.hpp: bytes say so, everything else is a
// count of buffers, blocks, slabs or threads.
#pragma once

#include <slabbuf/pool/stats.hpp>

#include <span>
#include <string>
#include <string_view>

namespace slabbuf {

/// A snapshot and what to call the pool it is of.
struct named_stats {
  std::string_view name;  // UTF-8, no two alike: Prometheus refuses the whole page otherwise
  const pool_stats* stats;
};

/// The Prometheus text exposition format, version 0.0.4: metrics slabbuf_pool_*, labelled pool="name", and
/// class="bytes" where there is one for each class that was ever used. All pools of a program go into one
/// call, because a metric must not be described twice.
std::string to_prometheus(std::span<const named_stats> pools);

/// One JSON object: the fields of pool_stats by their names, `budget_bytes_max` null when there is no
/// limit, and `classes`, an array with those that were ever used.
std::string to_json(const pool_stats& stats);

/// A screenful: totals, then a line for each class that was ever used. In both, "at most" and "high water" are the most
/// there ever was at once: of bytes charged against the budget, of blocks of the class in use and cached.
std::string to_text(const pool_stats& stats);

}  // namespace slabbuf
