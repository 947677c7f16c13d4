// SPDX-License-Identifier: MIT
// What a server tells of itself at one moment, and the texts that are made of it.
// Threads: any.
// Lifetime: values.
#pragma once

#include "admin/process_usage.hpp"

#include <slabbuf/pool/stats.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf::examples {

/// One number of a program. The page draws these by their names: connections, connections_accepted, received_bytes,
/// sent_bytes, requests; and lists all of them.
struct admin_metric {
  enum class kind { gauge, counter };

  std::string_view name;  // as in Prometheus, without prefix and without _total; of static storage
  kind of = kind::gauge;
  std::string_view help;  // a sentence; of static storage
  std::uint64_t value = 0;
};

struct admin_sample {
  std::vector<std::pair<std::string, pool_stats>> pools;  // by their names, at least one
  std::vector<admin_metric> metrics;
  process_usage process;
};

/// The Prometheus text format: slabbuf_pool_*, slabbuf_server_*, process_*.
std::string to_prometheus(const admin_sample& sample);

/// One JSON object: program, version, uptime_s, process, metrics, pools.
std::string to_json(std::string_view program, const admin_sample& sample);

}  // namespace slabbuf::examples
