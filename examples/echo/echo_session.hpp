// SPDX-License-Identifier: MIT
// One echo connection: read what came, write it back, never both at once.
// Threads: the one that runs its shard.
// Lifetime: owned by its pending operation, whose handler holds the only unique_ptr. So it dies when
// an operation ends without starting another, and whatever it holds goes back to the pool.
//
//     waiting (no block) --readable--> read --> write (owns the block) --> waiting ...
//                               |                                          no room: in the pool's line, then read
//                 eof, error, idle for too long: closed
#pragma once

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <memory>

namespace slabbuf::examples {

class echo_shard;

// The executor's concrete type: a type-erased one costs memory and time per operation.
using echo_socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;

class echo_session {
 public:
  echo_session(echo_shard& shard, echo_socket socket);
  echo_session(const echo_session&) = delete;
  echo_session& operator=(const echo_session&) = delete;
  ~echo_session();

  /// Waits for bytes.
  static void read(std::unique_ptr<echo_session> self);

 private:
  struct expire {
    echo_session* session;
    void operator()() const { session->on_deadline(); }
  };

  static void on_read(std::unique_ptr<echo_session> self, asio::error_code ec, buffer received);
  static void wait_for_budget(std::unique_ptr<echo_session> self);
  static void read_into(std::unique_ptr<echo_session> self, buffer granted);
  static void write(std::unique_ptr<echo_session> self, buffer data);
  void on_deadline();
  bool takes_bytes() noexcept;
  void abort() noexcept;

  echo_shard& shard_;
  echo_socket socket_;
  net::deadline<expire> deadline_;
  bool waiting_for_bytes_ = false;  // everything received so far has been sent back
  int unsent_bytes_ = 0;            // in the kernel, when takes_bytes() was last asked
};

}  // namespace slabbuf::examples
