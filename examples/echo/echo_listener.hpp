// SPDX-License-Identifier: MIT
// One listening socket of a shard: accepts, and pauses where the system has no descriptors left.
// Threads: the one that runs its shard; the constructor, listen() and start() before that, from any.
// Lifetime: owned by its shard.
#pragma once

#include "echo/echo_session.hpp"

#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <chrono>

namespace slabbuf::examples {

class echo_listener {
 public:
  using begin = void (echo_shard::*)(echo_socket accepted);

  /// Each connection becomes whatever `begin` of the shard makes of it.
  echo_listener(echo_shard& shard, begin what);
  echo_listener(const echo_listener&) = delete;
  echo_listener& operator=(const echo_listener&) = delete;

  /// Binds and listens; throws std::system_error. Port 0 lets the system choose. Returns where. Shards share the port.
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
  void on_accept(asio::error_code ec, echo_socket peer);
  void pause(const asio::error_code& why);

  echo_shard& shard_;
  const begin begin_;
  asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type> acceptor_;
  timer timer_;
  bool accepting_ = false;  // an accept, or the pause before the next one, is under way
  bool paused_ = false;
};

}  // namespace slabbuf::examples
