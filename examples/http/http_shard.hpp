// SPDX-License-Identifier: MIT
// One thread of an HTTP server: its io_context, its listening sockets, its connections, its handler.
// Threads: drain(), stop() and counters() from any; the rest from the one that runs run(), or before it.
// Lifetime: outlived by the server that made it; its connections die with its io_context.
#pragma once

#include "common/counter.hpp"
#include "common/refusal_log.hpp"
#include "common/tcp_listener.hpp"
#include "http/http_exchange.hpp"
#include "http/http_head.hpp"
#include "http/http_server.hpp"

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace slabbuf::examples {

using tls_socket = net::tls_stream<tcp_connection>;

struct http_counters {
  counter accepted, refused, requests, received_bytes, sent_bytes;
  std::array<counter, 6> answers;
};

/// What all shards of a server share.
struct http_shared {
  const http_options& options;
  concurrent_pool& buffers;
  blocking_threads& threads;
  std::atomic<std::size_t>& connections;
};

class http_shard {
 public:
  http_shard(const http_shared& shared, const http_server::handler_factory& make_handler);
  http_shard(const http_shard&) = delete;
  http_shard& operator=(const http_shard&) = delete;
  ~http_shard();

  /// Bind and listen; throw std::system_error. Port 0 lets the system choose. Return where.
  asio::ip::tcp::endpoint listen_plain(const asio::ip::tcp::endpoint& endpoint) { return plain_.listen(endpoint); }
  asio::ip::tcp::endpoint listen_tls(const asio::ip::tcp::endpoint& endpoint) { return tls_.listen(endpoint); }

  /// What run() begins with. Throws std::bad_alloc.
  void start();
  /// Serves until drained or stopped. A connection for which there is no memory is dropped.
  void run();
  /// run() returns as soon as it can.
  void stop() noexcept { context_.stop(); }
  /// Stop accepting, answer what has been asked, close what is idle; cut what is left after drain_timeout, or at once
  /// when asked a second time.
  void drain();

  const http_counters& counters() const noexcept { return counters_; }

  static constexpr std::chrono::seconds drain_timeout{5};

 private:
  template <class Stream>
  friend class http_connection;
  using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                           asio::io_context::executor_type>;

  template <class Begin>
  void admit(tcp_socket peer, bool plain, Begin begin);
  void start_draining();
  void end_draining();
  void abort_all();
  void connection_began() noexcept;
  void connection_ended();

  // The order is the order of lifetimes: sockets need context_; operations die with it and free what they use in the
  // pools.
  http_shared shared_;
  local_pool handlers_;  // state of operations and of requests: one thread, so no cache to look up
  http_counters counters_;
  http_clock clock_;
  std::size_t connection_count_ = 0;
  bool draining_ = false;
  bool aborting_ = false;
  bool dying_ = false;
  const http_exchange* served_ = nullptr;  // whose handler runs; what comes back meanwhile is put into:
  http_exchange_ptr returned_;
  refusal_log refusals_;
  // One thread runs it and touches its sockets; others post to it: no locks but the queue's.
  asio::io_context context_{ASIO_CONCURRENCY_HINT_UNSAFE_IO};
  net::deadline_wheel<asio::io_context::executor_type> deadlines_{context_};  // each connection has one, always armed
  std::unique_ptr<http_handler> handler_;
  tcp_listener plain_;
  tcp_listener tls_;
  timer drain_timer_{context_};
};

}  // namespace slabbuf::examples
