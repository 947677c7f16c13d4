// SPDX-License-Identifier: MIT
// One HTTP connection, over a socket or a TLS stream: read a head, let the handler answer, send that, and so on.
// Threads: the one that runs its shard.
// Lifetime: owned by its next step: an operation's handler, or the handler of the request. So it dies when a step ends
// without starting another, and whatever it holds goes back to the pool.
//
//     idle: a socket, a deadline, a pointer        -- bytes -->  head: + one block, the state of a request
//     head --complete--> handler --respond()--> sending --> idle, or the next head that has come already
//                           |  read_body(): a block whenever there are bytes, given to the body's reader
//
// Whoever waits for the budget holds no block: what was received is given back first, and where that has requests in it
// that have not been answered, the client will have to repeat them.
#pragma once

#include "http/http_exchange.hpp"
#include "http/http_head.hpp"
#include "http/http_parser.hpp"
#include "http/http_shard.hpp"

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/error_code.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace slabbuf::examples {

template <class Stream>
class http_connection final : public http_exchange {
 public:
  using pointer = std::unique_ptr<http_connection>;

  http_connection(http_shard& shard, Stream stream);
  http_connection(const http_connection&) = delete;
  http_connection& operator=(const http_connection&) = delete;
  ~http_connection() override;

  /// Shakes hands where that has to be, and waits for a request.
  static void start(pointer self);

  concurrent_pool& buffers() noexcept override { return shard_.shared_.buffers; }
  asio::ip::address peer() const noexcept override;
  asio::io_context& context() noexcept override { return shard_.context_; }
  blocking_threads& threads() noexcept override { return shard_.shared_.threads; }

 private:
  static constexpr bool plain = std::is_same_v<Stream, tcp_connection>;

  // What it does; what its deadline means.
  enum class phase : std::uint8_t {
    handshake,
    idle,     // no bytes of a request have come
    head,     // some have
    body,     // waits for bytes of it
    sending,  // waits for the peer to take bytes
    waiting,  // for the budget to have room
    working,  // waits for a disk, for the handler: not for the peer
    closing,  // has said its last word
  };

  // What there is only while a request is under way; in a block of the shard's pool.
  struct active : http_exchange_state {
    http_parser parser;
    buffer input;  // received; from input_from on, not looked at yet
    std::size_t input_from = 0;
    std::size_t head_from = 0;  // where the head begins in it
    buffer output;              // to be sent, from output_from on
    std::size_t output_from = 0;
    std::size_t progress_bytes = 0;                        // of the body, since its clock was set
    std::chrono::steady_clock::duration body_time_left{};  // on that clock, which stands still while the disk works
    std::chrono::steady_clock::time_point body_waits_since{};
    // Since when the peer is watched while it takes the answer, which holds so many bytes of the pool.
    std::optional<std::uint64_t> acknowledged_before;
    std::size_t held_bytes = 0;
    std::chrono::steady_clock::duration stalled{};  // nothing was taken for so long
    // Up to where the file of the answer has been brought into memory for it, and when.
    std::uint64_t warmed_from = 0;
    std::uint64_t warmed_until = 0;
    std::chrono::steady_clock::time_point warmed_at{};
    bool watched = false;
    bool head_written = false;
    bool closes = false;  // this is the last answer
    bool body_begun = false;
    bool body_complete = false;
  };

  struct expire {
    http_connection* connection;
    void operator()() const { connection->on_deadline(); }
  };

  // The handler of an operation. A step without a state takes no room: an idle connection is little more than the
  // operation it waits in, which would take a block of the next class.
  template <class Step>
  struct bound_step {
    template <class... Results>
    void operator()(Results&&... results) {
      step(std::move(self), std::forward<Results>(results)...);
    }

    pointer self;
    [[no_unique_address]] Step step;
  };

  template <class Step>
  static auto bound(pointer self, Step step);
  active* current() const noexcept { return static_cast<active*>(state_); }
  static pointer own(http_exchange_ptr exchange) noexcept;

  // Receiving a head (http_connection_receive.hpp).
  static void wait_for_request(pointer self);
  static void on_first_bytes(pointer self, asio::error_code ec, buffer received);
  static void begin_request(http_connection& self, buffer received);
  static void serve(pointer self);
  static void receive_more_of_head(pointer self);
  bool make_room();
  struct refused_request {
    int status;
    std::string_view why;
  };
  refused_request refusal() const noexcept;
  static void refuse(pointer self, int status, std::string_view why);
  static void finish(pointer self);

  // Its body (http_connection_body.hpp).
  void do_read_body(http_exchange_ptr exchange) override;
  static void decode(pointer self);
  static void receive_body(pointer self);
  void start_body_clock();
  asio::error_code stop_body_clock(asio::error_code ec);
  static void on_body_bytes(pointer self, asio::error_code ec, buffer received);
  static void deliver(pointer self, asio::error_code ec, buffer piece, bool last);

  // The answer (http_connection_send.hpp).
  enum class filled : std::uint8_t { yes, cold, broken };
  void do_respond(http_exchange_ptr exchange) override;
  static void send(pointer self);
  static void send_blocks(pointer self);
  enum class sent : std::uint8_t { all, blocked, failed };
  sent send_output();
  std::size_t block_bytes_wanted() const;
  bool is_without_body() const;
  bool next_is_sent_by_system() const;
  bool take_output_block();
  filled fill();
  std::size_t file_bytes_next(std::size_t room) const;
  template <class Step>
  static void wait_for_memory(pointer self, std::size_t bytes, Step step);
  static void refuse_for_memory(pointer self);
  static void wait_for_block(pointer self);
  void watch_sending(std::size_t held_bytes);
  std::chrono::seconds watch_time() const noexcept;
  bool is_taken_fast_enough() noexcept;
  void drop_input() noexcept;
  static void wait_until_writable(pointer self);
  static void write_output(pointer self);
  static void read_cold(pointer self);
  static bool send_file_part(pointer& self);
  static bool send_warm_part(pointer& self, std::size_t count);
  static void send_part_by_blocks(pointer self, std::size_t count);
  static void warm_cold(pointer self, std::size_t count);
  void file_failed() const;

  static void close_gracefully(pointer self);
  static void close_idle(pointer self);
  static void linger(pointer self);
  void on_deadline();
  void abort() noexcept;
  void expires_after(phase next, std::chrono::steady_clock::duration time);
  std::chrono::seconds idle_time() const noexcept;
  void start_active();
  void begin_head();
  void end_active() noexcept;
  tcp_connection& socket() noexcept;

  http_shard& shard_;
  Stream stream_;
  net::deadline<expire> deadline_;
  asio::cancellation_signal memory_wait_;
  std::chrono::steady_clock::time_point lingers_until_;  // phase::closing
  std::uint32_t request_count_ = 0;
  phase phase_ = phase::handshake;
  bool local_ = false;  // its address here is a loopback one
};

extern template class http_connection<tcp_connection>;
extern template class http_connection<tls_socket>;

}  // namespace slabbuf::examples
