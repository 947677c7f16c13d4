// SPDX-License-Identifier: MIT
// One thread of the echo server: its io_context, its listening sockets, its connections, its datagrams.
// Threads: start() and drain() from the thread that runs run(), or through post().
// Lifetime: outlived by the service that made it; its connections die with its io_context.
#pragma once

#include "common/counter.hpp"
#include "common/refusal_log.hpp"
#include "common/reloadable_tls_context.hpp"
#include "common/tcp_listener.hpp"
#include "echo/echo_datagrams.hpp"
#include "echo/echo_session.hpp"

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace slabbuf::examples {

/// Where to listen; at least one of them.
struct echo_addresses {
  std::optional<asio::ip::tcp::endpoint> tcp;
  std::optional<asio::ip::udp::endpoint> udp;
  std::optional<asio::ip::tcp::endpoint> tls;
};

struct echo_options {
  echo_addresses addresses;
  tls_files tls;  // used with addresses.tls
  std::size_t threads = 1;
  std::size_t budget_bytes_max = std::size_t{256} << 20;
  std::size_t connections_max = 10'000;
  std::chrono::seconds idle_timeout{60};  // 0: none
};

/// What all shards share.
struct echo_shared {
  /// Throws std::runtime_error when the certificate cannot be used.
  explicit echo_shared(const echo_options& chosen)
      : options(chosen), buffers({.budget_bytes_max = chosen.budget_bytes_max}) {
    if (chosen.addresses.tls) tls.emplace(chosen.tls);
  }

  const echo_options options;
  std::optional<reloadable_tls_context> tls;
  concurrent_pool buffers;  // bytes on their way through; the budget is theirs alone
  std::atomic<std::size_t> connections{0};
};

/// What a shard has done so far.
struct echo_counters {
  counter accepted;  // connections
  counter refused;
  counter datagrams;       // received
  counter received_bytes;  // of both, without TLS
  counter sent_bytes;
};

class echo_shard {
 public:
  /// Shares nothing yet with the world; see listen().
  explicit echo_shard(echo_shared& shared);

  /// Binds and listens; each throws std::system_error. Port 0 lets the system choose. Returns where.
  asio::ip::tcp::endpoint listen_tcp(const asio::ip::tcp::endpoint& endpoint) { return tcp_.listen(endpoint); }
  asio::ip::tcp::endpoint listen_tls(const asio::ip::tcp::endpoint& endpoint) { return tls_.listen(endpoint); }
  asio::ip::udp::endpoint listen_udp(const asio::ip::udp::endpoint& endpoint);

  echo_shard(const echo_shard&) = delete;
  echo_shard& operator=(const echo_shard&) = delete;
  ~echo_shard();

  /// What run() begins with. Before it, from any thread; throws std::bad_alloc.
  void start();

  /// Serves until drained or stopped. A connection for which there is no memory is dropped; any other
  /// exception is a defect.
  void run();

  /// From any thread: run() returns as soon as it can; connections die with the shard.
  void stop() noexcept;

  /// From any thread: stop accepting, answer what still comes, close each connection that is quiet;
  /// cut what is left after drain_timeout, or at once when asked a second time.
  void drain();

  /// From any thread.
  const echo_counters& counters() const noexcept { return counters_; }

  static constexpr std::chrono::seconds drain_timeout{5};

 private:
  friend class echo_datagrams;
  template <class Stream>
  friend class echo_session;
  using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                           asio::io_context::executor_type>;

  void begin_tcp(tcp_socket peer);
  void begin_tls(tcp_socket peer);
  template <class Make>
  void begin(tcp_socket peer, Make make_stream);
  void start_draining();
  void end_draining();
  void abort_all();
  bool drained() const noexcept { return draining_ && session_count_ == 0 && (!datagrams_ || datagrams_->ended()); }
  std::chrono::milliseconds patience() const noexcept;
  void session_began() { ++session_count_; }
  void session_ended();
  void datagrams_ended();

  // The order is the order of lifetimes: sockets need context_; operations die with it and free what
  // they use in the pools.
  echo_shared& shared_;
  echo_counters counters_;
  local_pool handlers_;  // state of the operations: one thread, so no cache to look up
  std::size_t session_count_ = 0;
  bool draining_ = false;
  bool aborting_ = false;
  bool dying_ = false;
  refusal_log refusals_;
  // One thread runs it and touches its sockets; others post to it: no locks but the queue's.
  asio::io_context context_{ASIO_CONCURRENCY_HINT_UNSAFE_IO};
  tcp_listener tcp_{context_, handlers_, [this](tcp_socket peer) { begin_tcp(std::move(peer)); }};
  tcp_listener tls_{context_, handlers_, [this](tcp_socket peer) { begin_tls(std::move(peer)); }};
  net::deadline_wheel<asio::io_context::executor_type> deadlines_{context_};  // each session has one, always armed
  timer drain_timer_{context_};
  std::optional<echo_datagrams> datagrams_;
};

}  // namespace slabbuf::examples
