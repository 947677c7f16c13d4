// SPDX-License-Identifier: MIT
// Random data in random chunks over many connections to an echo server, every byte of the echo compared.
// Threads: run_echo_load() blocks the caller and runs threads of its own, each with an io_context.
// Lifetime: nothing is left when it returns.
//
// Each connection sends and receives at the same time, so neither side can make the other wait forever:
//
//     |<---- verified ---->|<---- in flight, at most `pipeline` chunks ---->|<---- to come ---->|
//     0                received                                           sent              its share
//
// The sender makes its bytes as it goes and the receiver makes them again, so nothing sent is stored.
#pragma once

#include "load/latency_histogram.hpp"

#include <asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

struct echo_options {
  asio::ip::tcp::endpoint target{asio::ip::address_v4::loopback(), 7000};
  std::size_t connections = 50;
  std::uint64_t bytes = std::uint64_t{64} << 20;  // over all connections; as evenly as whole `share_bytes` allow
  std::uint64_t share_bytes = 1;                  // a connection sends a multiple of this
  std::size_t chunk_bytes_min = 1;
  std::size_t chunk_bytes_max = std::size_t{64} << 10;
  std::size_t pipeline = 4;  // chunks a connection may have in flight; 1 is request and response
  std::size_t threads = 1;
  std::uint64_t seed = 1;
  std::chrono::seconds timeout{60};  // for everything together
  bool half_close = false;           // end the sending side after the last byte; all must still come back
  bool progress = false;             // a line on stderr
};

struct echo_result {
  std::uint64_t bytes = 0;    // sent, received and found equal
  double seconds = 0;         // from all connected to all verified
  latency_histogram latency;  // from the first byte of a chunk sent to its last received
};

/// Throws std::runtime_error with the first thing that went wrong: which connection, where, and what.
echo_result run_echo_load(const echo_options& options);

}  // namespace slabbuf::bench
