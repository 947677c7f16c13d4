// SPDX-License-Identifier: MIT
// The echo server as a whole: one shard a thread, all on the same addresses.
// Threads: drain() from any, also from a signal handler's thread; the rest from one.
// Lifetime: run() returns when every connection is closed.
//
// One io_context per thread with SO_REUSEPORT, not one shared: connections and datagrams stay on one thread, so
// nothing is locked and no cache line travels. What that is worth: net_bench, `threading`.
#pragma once

#include "common/shard_group.hpp"
#include "echo/echo_shard.hpp"

#include <cstdint>

namespace slabbuf::examples {

/// A snapshot, from all threads. Connections now, everything else ever.
struct echo_stats {
  std::uint64_t connections = 0;
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  std::uint64_t datagrams = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_bytes = 0;
};

class echo_service {
 public:
  /// Binds and listens. Throws std::system_error, "address already in use" among others, also when
  /// the other listener shares its port; std::runtime_error when the certificate cannot be used.
  explicit echo_service(const echo_options& options);

  /// Where it listens, with the ports the system chose.
  const echo_addresses& addresses() const noexcept { return addresses_; }
  concurrent_pool& buffers() noexcept { return shared_.buffers; }
  /// From any thread.
  echo_stats stats() const noexcept;

  /// Reads the certificate again; connections that are there keep theirs. From any thread, with addresses().tls.
  void reload_certificate() noexcept { shared_.tls->reload(); }

  /// Starts the threads, all but one. Throws std::system_error when the system has none left.
  void start() { shards_.start(); }

  /// Serves on the calling thread, too, until drained. start() comes first.
  void run() { shards_.run(); }

  /// Stops accepting, lets connections finish, then run() returns. A second call cuts them off.
  void drain() { shards_.drain(); }

 private:
  echo_shared shared_;
  echo_addresses addresses_;
  shard_group<echo_shard> shards_;
};

}  // namespace slabbuf::examples
