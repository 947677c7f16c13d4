// SPDX-License-Identifier: MIT
// One listening socket of a thread: accepts, and pauses where the system has no descriptors left.
// Threads: the one that runs its io_context; the constructor, listen() and start() before that, from any.
// Lifetime: io_context and pool must outlive it. The action must not destroy it.
#pragma once

#include <slabbuf/net/epoll_socket.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <chrono>
#include <functional>

namespace slabbuf::examples {

// The executor's concrete type: a type-erased one costs memory and time per operation.
using tcp_socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;

// What a connection goes on as: a thread has many, and none of their waits costs a system call then.
using tcp_connection = net::epoll_socket<asio::ip::tcp>;

/// SO_REUSEPORT would let a second server take half of the traffic of a first one. Without it the system says that the
/// address is taken: throws std::system_error then.
void check_free(const asio::ip::tcp::endpoint& endpoint);
void check_free(const asio::ip::udp::endpoint& endpoint);

class tcp_listener {
 public:
  using action = std::function<void(tcp_socket accepted)>;

  /// Operations take their memory from `handlers`; each connection is given to `on_accepted`.
  tcp_listener(asio::io_context& context, local_pool& handlers, action on_accepted);
  tcp_listener(const tcp_listener&) = delete;
  tcp_listener& operator=(const tcp_listener&) = delete;

  /// Binds and listens; throws std::system_error. Port 0 lets the system choose. Returns where. Threads share the port.
  asio::ip::tcp::endpoint listen(const asio::ip::tcp::endpoint& endpoint);

  /// Accepts from here on, when it listens. Throws std::bad_alloc.
  void start();

  /// Accepts no more.
  void stop() noexcept;

  /// A descriptor is free again: whoever waits for one need not wait for the timer.
  void hurry() { timer_.cancel(); }

  /// After a std::bad_alloc that ended a handler: goes on, later, if the handler was one of these.
  void revive();

 private:
  using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                           asio::io_context::executor_type>;

  void accept();
  void accepted(asio::error_code ec, tcp_socket peer);
  void pause(const asio::error_code& why);

  local_pool& handlers_;
  const action on_accepted_;
  asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type> acceptor_;
  timer timer_;
  bool accepting_ = false;  // an accept is under way
  bool timing_ = false;     // the time until the next one is
  bool paused_ = false;     // no connection has come since the last shortage
  bool stopped_ = false;
};

}  // namespace slabbuf::examples
