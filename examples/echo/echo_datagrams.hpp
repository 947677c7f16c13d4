// SPDX-License-Identifier: MIT
// The UDP half of a shard: receive a batch of datagrams, send the same batch back, never both at once.
// Threads: the one that runs its shard; the constructor and start() before that, from any.
// Lifetime: owned by its shard; the socket and the batch live as long. While nothing comes it holds no block.
//
//     waiting (no block) --readable--> receive --> send (owns the blocks) --> waiting ...
//                               |                                             no room: in the pool's line
//                 draining: until the socket is empty, then closed
#pragma once

#include <slabbuf/net/udp_batch.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/basic_datagram_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>

#include <chrono>
#include <cstddef>
#include <string>

namespace slabbuf::examples {

class echo_shard;

class echo_datagrams {
 public:
  /// Binds; throws std::system_error. Port 0 lets the system choose. Shards share the port.
  echo_datagrams(echo_shard& shard, const asio::ip::udp::endpoint& endpoint);
  echo_datagrams(const echo_datagrams&) = delete;
  echo_datagrams& operator=(const echo_datagrams&) = delete;

  asio::ip::udp::endpoint endpoint() const { return socket_.local_endpoint(); }

  /// Waits for datagrams. Throws std::bad_alloc.
  void start() { next(); }

  /// Answers what is in the socket by now, then closes it and tells the shard.
  void drain();

  /// Closes the socket, whatever is in it.
  void abort() noexcept;

  /// Whether it is closed and nothing is under way.
  bool ended() const noexcept { return ended_; }

  /// After a std::bad_alloc that ended a handler: goes on, later, if the handler was one of these.
  void revive();

 private:
  using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                           asio::io_context::executor_type>;

  void next();
  void on_received(const asio::error_code& ec);
  void on_sent();
  void wait_for_budget();
  void pause(const asio::error_code& why);
  bool has_datagrams() noexcept;
  void log_unanswered(std::size_t count, const std::string& why);

  echo_shard& shard_;
  asio::basic_datagram_socket<asio::ip::udp, asio::io_context::executor_type> socket_;
  timer timer_;
  net::udp_batch batch_;
  bool busy_ = false;  // an operation is under way
  bool draining_ = false;
  bool ended_ = false;
  std::chrono::steady_clock::time_point drain_until_{};
  std::size_t to_send_bytes_ = 0;     // of the batch that is being sent
  std::size_t unanswered_count_ = 0;  // datagrams, since that was last logged
  std::chrono::steady_clock::time_point unanswered_logged_at_{};
};

}  // namespace slabbuf::examples
