// SPDX-License-Identifier: MIT
// An HTTP/1.1 server, plain and over TLS: a shard a thread, a handler each.
// Threads: drain(), stop() and stats() from any; the rest from one.
// Lifetime: pool, TLS context and blocking threads must outlive it. run() returns when every connection is closed.
//
//     http_server server(options, buffers, threads, make_handler);
//     server.start();            // addresses() are bound since the constructor
//     server.run();              // until drain() and the last connection
#pragma once

#include "common/shard_group.hpp"
#include "http/http_exchange.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <asio/ip/tcp.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace slabbuf::examples {

class http_shard;
class reloadable_tls_context;

/// What a connection may cost before it is ended, each with the answer it gets.
struct http_limits {
  std::size_t head_bytes_max = std::size_t{16} << 10;   // request line and fields; 431
  std::size_t target_bytes_max = std::size_t{8} << 10;  // 414
  std::chrono::seconds head_timeout{10};                // from the first byte of a head to its last; 408
  std::chrono::seconds body_timeout{30};                // for each body_bytes_least of a body; 408
  std::size_t body_bytes_least = std::size_t{4} << 10;
  std::chrono::seconds idle_timeout{60};  // between requests, and while an answer is not taken; 0: none
  // While others wait for memory, an answer that holds some must be taken this fast, and fast enough to give back what
  // it holds within idle_timeout; looked at every memory_timeout. Otherwise its connection ends.
  std::size_t answer_bytes_per_second_least = std::size_t{4} << 10;
  std::chrono::seconds memory_timeout{10};  // for the budget to have room; 503
  std::size_t requests_max = 10'000;        // of one connection, which then ends
  std::size_t connections_max = 10'000;     // more are refused
};

struct http_options {
  std::optional<asio::ip::tcp::endpoint> plain;
  const char* plain_option = "--http";         // what asks for it: for the one to read who cannot have it
  std::optional<asio::ip::tcp::endpoint> tls;  // needs tls_context
  reloadable_tls_context* tls_context = nullptr;
  std::size_t threads = 1;
  http_limits limits;
  std::vector<std::string> hosts;  // what this server is called besides localhost: see is_for_this_server()
};

/// A snapshot; from all threads.
struct http_stats {
  std::uint64_t connections = 0;     // now
  std::uint64_t accepted = 0;        // ever
  std::uint64_t refused = 0;         // ever, for want of room for more connections
  std::uint64_t requests = 0;        // ever
  std::uint64_t answers[6] = {};     // ever; of 1xx to 5xx at 1 to 5
  std::uint64_t received_bytes = 0;  // of heads and bodies, as far as they were read
  std::uint64_t sent_bytes = 0;      // of heads and bodies, without TLS
};

class http_server {
 public:
  /// Makes the handler of a thread, before that is started.
  using handler_factory = std::function<std::unique_ptr<http_handler>(asio::io_context&)>;

  /// Binds and listens. Throws std::system_error, whose text names the address.
  http_server(const http_options& options, concurrent_pool& buffers, blocking_threads& threads,
              const handler_factory& make_handler);
  http_server(const http_server&) = delete;
  http_server& operator=(const http_server&) = delete;
  ~http_server();

  /// Where it listens, with the ports the system chose.
  const std::optional<asio::ip::tcp::endpoint>& plain_endpoint() const noexcept { return options_.plain; }
  const std::optional<asio::ip::tcp::endpoint>& tls_endpoint() const noexcept { return options_.tls; }

  /// Starts the threads, all but one. Throws std::system_error when the system has none left.
  void start();

  /// Serves on the calling thread, too, until drained. start() comes first.
  void run();

  /// Stops accepting, lets requests be answered, then run() returns. A second call cuts them off.
  void drain();

  http_stats stats() const noexcept;

 private:
  http_options options_;
  blocking_threads& blocking_;
  std::atomic<std::size_t> connections_{0};
  shard_group<http_shard> shards_;
};

}  // namespace slabbuf::examples
