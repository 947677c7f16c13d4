// SPDX-License-Identifier: MIT
// Many clients that vanish at once, with a reset and in the middle of an exchange; then one that is served.
// Threads: blocks the caller; starts none.
// Lifetime: nothing is left when it returns.
#pragma once

#include <asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

struct reset_options {
  asio::ip::tcp::endpoint target{asio::ip::address_v4::loopback(), 7000};
  std::size_t connections = 1000;
  std::uint64_t seed = 1;
  std::chrono::seconds timeout{60};
};

/// Throws std::runtime_error with the reason when a connection fails before its reset, or when the server
/// does not echo on a fresh connection afterwards.
void run_reset_storm(const reset_options& options);

}  // namespace slabbuf::bench
