// SPDX-License-Identifier: MIT
// One echo connection, over TCP or TLS: read what came, write it back, never both at once.
// Threads: the one that runs its shard.
// Lifetime: owned by its pending operation, whose handler holds the only unique_ptr. So it dies when
// an operation ends without starting another, and whatever it holds goes back to the pool.
//
//     (handshake) --> waiting (no block) --readable--> read --> write (owns the block) --> waiting ...
//                                               |                              no room: in the pool's line, then read
//                 eof, idle for too long: (close_notify), closed          error, no handshake in time: closed
//
// What is in parentheses is TLS's.
#pragma once

#include "common/tcp_listener.hpp"

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/error_code.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace slabbuf::examples {

class echo_shard;

using echo_tls_stream = net::tls_stream<tcp_connection>;

template <class Stream>
class echo_session {
 public:
  static constexpr bool is_tls = std::is_same_v<Stream, echo_tls_stream>;

  echo_session(echo_shard& shard, Stream stream);
  echo_session(const echo_session&) = delete;
  echo_session& operator=(const echo_session&) = delete;
  ~echo_session();

  /// Shakes hands, when there are hands to shake, and waits for bytes.
  static void start(std::unique_ptr<echo_session> self);

 private:
  enum class stage : std::uint8_t {
    handshake,
    waiting,  // everything received so far has been sent back
    busy,     // with bytes that are to be sent back
    closing,  // close_notify is on its way, or about to be
  };
  struct expire {
    echo_session* session;
    void operator()() const { session->on_deadline(); }
  };

  static void read(std::unique_ptr<echo_session> self);
  static void on_read(std::unique_ptr<echo_session> self, asio::error_code ec, buffer received);
  static void wait_for_budget(std::unique_ptr<echo_session> self);
  static void read_into(std::unique_ptr<echo_session> self, buffer granted);
  static void write(std::unique_ptr<echo_session> self, buffer data);
  template <class Data>
  static void write_all(std::unique_ptr<echo_session> self, Data data);
  static void on_written(std::unique_ptr<echo_session> self, std::size_t sent_bytes);
  static void finish(std::unique_ptr<echo_session> self, asio::error_code ec);
  void on_deadline();
  bool takes_bytes() noexcept;
  void close() noexcept;
  void abort() noexcept;

  echo_shard& shard_;
  Stream stream_;
  net::deadline<expire> deadline_;
  stage stage_ = is_tls ? stage::handshake : stage::waiting;
  int unsent_bytes_ = 0;  // in the kernel, when takes_bytes() was last asked
};

extern template class echo_session<tcp_connection>;
extern template class echo_session<echo_tls_stream>;

}  // namespace slabbuf::examples
