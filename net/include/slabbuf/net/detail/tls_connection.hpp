// SPDX-License-Identifier: MIT
// An engine, and which of its two operations waits for the descriptor's input.
// Threads: as the stream.
// Lifetime: the stream's. Moves only while nothing is under way.
//
// What the descriptor has is for both: OpenSSL reads it for whichever of them makes a step, and a write needs input,
// too, in the middle of a message that follows the handshake (a ticket, a certificate that is asked for). So one of the
// two waits for the descriptor, and only a step that nobody waits beside may receive: else the one that waits would
// never hear of bytes that are with OpenSSL already. The other one waits here, behind it, and makes a step after each
// of its steps, when it may receive if it is alone. (asio::ssl::stream has two timers for this.)
#pragma once

#include <slabbuf/net/detail/tls_engine.hpp>

#include <asio/basic_waitable_timer.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace slabbuf::net::detail {

/// What an operation is for, of which there is one at a time: reads; or writes, handshakes and shutdowns.
enum class tls_side : unsigned char { none, receiving, sending };

template <class Executor>
class tls_connection : public tls_engine {
 public:
  using tls_engine::tls_engine;

  /// Makes a step, and has the operation that waits behind make one as well: much may be different now.
  template <class Call>
  auto make_step(Call&& call) {
    let_receive(waits_ == tls_side::none);
    const auto result = std::forward<Call>(call)();
    wake();
    return result;
  }

  /// Starts wait() for the descriptor's input, or waits behind the other operation. Throws what either throws.
  template <class Wait, class Op>
  void wait_for_input(tls_side side, const Executor& executor, Wait&& wait, Op&& op) {
    const bool is_first = waits_ == tls_side::none;
    tls_side& as = is_first ? waits_ : waits_behind_;
    if (!is_first && behind_ == nullptr) behind_ = std::make_unique<timer>(executor, timer::time_point::max());
    as = side;
    try {
      is_first ? std::forward<Wait>(wait)(std::forward<Op>(op)) : behind_->async_wait(std::forward<Op>(op));
    } catch (...) {
      as = tls_side::none;
      throw;
    }
  }

  /// A wait of this side has ended, of whatever kind. True when it was one behind the other side: then the error says
  /// nothing.
  bool waited(tls_side side) noexcept {
    if (waits_ == side) waits_ = tls_side::none;
    return waits_behind_ == side && std::exchange(waits_behind_, tls_side::none) == side;
  }

  /// The operation that waits behind makes a step. To be called when the other one ends without one.
  void wake() noexcept {
    if (waits_behind_ == tls_side::none) return;
    asio::error_code ignored;
    behind_->cancel(ignored);
  }

 private:
  using timer =
      asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;

  tls_side waits_ = tls_side::none;
  tls_side waits_behind_ = tls_side::none;
  std::unique_ptr<timer> behind_;  // made when there is a first wait behind, which most connections never have
};

}  // namespace slabbuf::net::detail
