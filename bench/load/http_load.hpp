// SPDX-License-Identifier: MIT
// GET requests for one URL over many connections to an HTTP server, every byte of the answers compared with the first
// one.
// Threads: run_http_load() blocks the caller, and needs no other.
// Lifetime: nothing is left when it returns.
//
//     one request --> what is expected --> one each on the other connections --> all at once, again and again
//                     not measured         not measured: connects, shakes hands  measured
#pragma once

#include "files/file_client_connection.hpp"
#include "load/latency_histogram.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

struct http_options {
  examples::http_url url;
  examples::client_options client;   // `connections` of it, each with a request at a time; `timeout` for each step
  std::uint64_t requests = 10'000;   // over all connections
  std::chrono::seconds timeout{60};  // for everything together
  bool progress = false;             // a line on stderr
};

struct http_result {
  std::uint64_t requests = 0;    // answered, and found equal
  std::uint64_t body_bytes = 0;  // of each
  double seconds = 0;            // from all connected to all answered
  latency_histogram latency;     // from a request to the last byte of its answer
};

/// Bytes of an answer that are compared; of those behind them, the number is.
inline constexpr std::size_t compared_bytes_max = std::size_t{64} << 20;

/// Throws std::runtime_error with the first thing that went wrong: no connection, an answer other than 200, or other
/// bytes than those of the first one.
http_result run_http_load(const http_options& options);

}  // namespace slabbuf::bench
