// SPDX-License-Identifier: MIT
// The one asynchronous operation of a TLS stream: steps of the engine, and waits for readiness between them.
// Threads: as the stream: a read and a write may be under way at once, not on two threads at once.
// Lifetime: next layer, engine and whatever the action refers to must live until the handler is called.
//
// An action says what is done: step() makes one, begin() says whether the first one has to wait, complete() calls the
// handler, and give_up() is for those that end early.
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/tls_connection.hpp>
#include <slabbuf/net/detail/tls_engine.hpp>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/error.hpp>
#include <asio/ssl/error.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

/// What asio::ssl::stream says in the same case.
inline asio::error_code to_error_code(const tls_result& result) {
  switch (result.status) {
    case tls_status::done:
    case tls_status::want_read:
    case tls_status::want_write: return {};
    case tls_status::end_of_stream: return asio::error::eof;
    case tls_status::truncated: return asio::ssl::error::stream_truncated;
    case tls_status::system: return {static_cast<int>(result.code), asio::error::get_system_category()};
    case tls_status::openssl: return {static_cast<int>(result.code), asio::error::get_ssl_category()};
    case tls_status::unspecified: return asio::ssl::error::unspecified_system_error;
    case tls_status::unexpected: break;
  }
  return asio::ssl::error::unexpected_result;
}

enum class tls_want : unsigned char { nothing, read, write };

/// Of a step that gave `result`: its error in `ec`, or what it waits for.
inline tls_want want_of(const tls_result& result, asio::error_code& ec) {
  if (result.status == tls_status::want_read) return tls_want::read;
  if (result.status == tls_status::want_write) return tls_want::write;
  ec = to_error_code(result);
  return tls_want::nothing;
}

template <class NextLayer, class Action, class Handler>
class tls_op : public associated_op<NextLayer, Handler> {
  using base = associated_op<NextLayer, Handler>;
  using connection = tls_connection<typename NextLayer::executor_type>;
  static constexpr tls_side side = Action::side;

 public:
  template <class H>
  tls_op(NextLayer& next_layer, connection& its, Action&& action, H&& handler)
      : base(next_layer, std::forward<H>(handler), Action::cancellation_filter()),
        connection_(&its),
        action_(std::move(action)) {}

  /// The first step, unless it has to wait. The handler is never called from in here.
  static void start(tls_op&& op) {
    tls_want want = op.action_.begin(*op.connection_);
    if (want == tls_want::nothing) want = op.step();
    if (want != tls_want::nothing) return wait(std::move(op), want);
    // An empty write completes without a system call, with memory from the handler's allocator: see async_write.hpp.
    NextLayer& next_layer = op.io_object();
    next_layer.async_write_some(asio::const_buffer(), std::move(op));
  }

  /// The first step settled it.
  void operator()(asio::error_code, std::size_t) { finish(); }

  /// The descriptor is ready, or the wait failed; or the operation it waited behind has made a step.
  void operator()(asio::error_code ec) {
    if (connection_->waited(side)) ec = this->ended() ? ec : asio::error_code();
    // A cancellation that comes too late for the wait is too late for a read, which takes nothing before it completes.
    if (!ec && (side == tls_side::receiving ? this->closed() : this->ended())) ec = asio::error::operation_aborted;
    if (!ec) {
      const tls_want want = step();
      if (want != tls_want::nothing) {
        if (!this->ended()) return wait(std::move(*this), want);
        ec = asio::error::operation_aborted;
      }
    }
    if (ec) {
      ec_ = ec;
      action_.give_up(*connection_);
      connection_->wake();
    }
    finish();
  }

 private:
  tls_want step() {
    return connection_->make_step([this] { return action_.step(*connection_, this->descriptor(), ec_); });
  }

  static void wait(tls_op&& op, tls_want want) {
    NextLayer& next_layer = op.io_object();
    if (want == tls_want::write) return next_layer.async_wait(NextLayer::wait_write, std::move(op));
    connection& its = *op.connection_;
    its.wait_for_input(
        side, next_layer.get_executor(),
        [&](tls_op&& waiting) { next_layer.async_wait(NextLayer::wait_read, std::move(waiting)); }, std::move(op));
  }

  void finish() {
    action_.complete(ec_, [this](auto&&... results) { this->complete(std::forward<decltype(results)>(results)...); });
  }

  connection* connection_;
  Action action_;
  asio::error_code ec_;
};

/// Makes a tls_op of any handler: what asio::async_initiate calls.
template <class NextLayer>
struct initiate_tls {
  using executor_type = typename NextLayer::executor_type;
  executor_type get_executor() const noexcept { return next_layer->get_executor(); }

  template <class Handler, class Action>
  void operator()(Handler&& handler, Action&& action) const {
    using op = tls_op<NextLayer, std::decay_t<Action>, std::decay_t<Handler>>;
    op::start(op(*next_layer, *connection, std::forward<Action>(action), std::forward<Handler>(handler)));
  }

  NextLayer* next_layer;
  tls_connection<executor_type>* connection;
};

}  // namespace slabbuf::net::detail
