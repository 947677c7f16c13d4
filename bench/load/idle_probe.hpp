// SPDX-License-Identifier: MIT
// What an idle connection costs a server in memory: the growth of its resident anonymous memory, divided.
// Threads: blocks the caller; starts none.
// Lifetime: the connections are closed when it returns.
#pragma once

#include "load/process_memory.hpp"

#include <asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

struct idle_options {
  asio::ip::tcp::endpoint target{asio::ip::address_v4::loopback(), 7000};
  std::size_t connections = 4000;
  pid_t server_pid = 0;
  std::uint64_t seed = 1;
  std::chrono::seconds timeout{60};  // for everything but `hold`
  std::chrono::seconds hold{0};      // keeps the connections open that much longer, to look at the server
};

struct idle_result {
  memory_reading before;  // after one connection came and went: what a first connection costs once is in it
  memory_reading after;   // all connections idle
  double anonymous_bytes_per_connection = 0;
};

/// Opens the connections, echoes 64 bytes on each and reads the server's memory before and after. Throws
/// std::runtime_error with the reason, also when a connection did not stay open.
idle_result run_idle_probe(const idle_options& options);

}  // namespace slabbuf::bench
