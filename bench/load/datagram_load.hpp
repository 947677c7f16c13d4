// SPDX-License-Identifier: MIT
// Random datagrams over many sockets to an echo server, every byte of the echo compared.
// Threads: run_datagram_load() blocks the caller and starts none.
// Lifetime: nothing is left when it returns.
//
// Each socket keeps a window of datagrams on their way: the next one of a slot is sent when the answer to the one
// before it has come. What is not answered in time is sent again. A datagram begins with its number, so answers
// may come in any order, and twice:
//
//     | number, scrambled: 8 B | random bytes of this socket, at number * size |
#pragma once

#include "load/latency_histogram.hpp"

#include <asio/ip/udp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {

struct datagram_options {
  asio::ip::udp::endpoint target{asio::ip::address_v4::loopback(), 7000};
  std::size_t sockets = 4;
  std::uint64_t datagrams = 100'000;  // over all sockets together
  std::size_t datagram_bytes = 200;   // 8 .. 65507
  std::size_t in_flight = 16;         // datagrams on their way for each socket
  std::uint64_t seed = 1;
  std::chrono::seconds timeout{60};  // for everything together
};

struct datagram_result {
  std::uint64_t datagrams = 0;  // echoed and found equal
  double seconds = 0;           // from the first sent to the last verified
  std::uint64_t resent = 0;     // because no answer came within datagram_patience
  std::uint64_t lost = 0;       // of all sent, those never answered
  std::uint64_t dropped = 0;    // by the kernel of this machine meanwhile, whoever's they were
  latency_histogram latency;    // from the last time a datagram was sent to its answer
};

/// How long an answer may take before the datagram is sent again.
inline constexpr std::chrono::milliseconds datagram_patience{1000};

/// Throws std::runtime_error with the first thing that went wrong: which socket, and what. More datagrams lost on
/// loopback than the kernel says it dropped are an error, too.
datagram_result run_datagram_load(const datagram_options& options);

}  // namespace slabbuf::bench
