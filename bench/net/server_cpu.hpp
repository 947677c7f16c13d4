// SPDX-License-Identifier: MIT
// What a server's thread costs, measured from inside or from outside, and the client that keeps it busy: blocking
// calls on one thread, the same for every server.
// Threads: the client's; the clocks can be read anywhere.
// Lifetime: nothing is kept.
#pragma once

#include <pthread.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf::bench {

inline constexpr std::size_t message_bytes = 64;

/// Processor time so far by such a clock, in microseconds. It is what getrusage() gives as the sum of user and
/// system time, in finer steps.
inline double cpu_us(::clockid_t clock) {
  ::timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

/// That of the calling thread.
inline double cpu_us() { return cpu_us(CLOCK_THREAD_CPUTIME_ID); }

/// That of another running thread.
inline double cpu_us(std::thread& thread) {
  ::clockid_t clock{};
  ::pthread_getcpuclockid(thread.native_handle(), &clock);
  return cpu_us(clock);
}

/// Connections to one server, all of which exchange messages in rounds.
class echo_client {
 public:
  echo_client(const asio::ip::tcp::endpoint& endpoint, std::size_t connections) {
    for (std::size_t index = 0; index < connections; ++index) {
      sockets_.emplace_back(context_).connect(endpoint);
      sockets_.back().set_option(asio::ip::tcp::no_delay(true));
    }
  }

  /// `rounds` times `depth` messages on each connection, sent on all before any answer is read.
  void exchange(std::size_t rounds, std::size_t depth) {
    std::string batch(depth * message_bytes, 'x');
    for (std::size_t round = 0; round < rounds; ++round) {
      for (asio::ip::tcp::socket& each : sockets_) asio::write(each, asio::buffer(batch));
      for (asio::ip::tcp::socket& each : sockets_) asio::read(each, asio::buffer(batch));
    }
  }

 private:
  asio::io_context context_;
  std::vector<asio::ip::tcp::socket> sockets_;
};

}  // namespace slabbuf::bench
