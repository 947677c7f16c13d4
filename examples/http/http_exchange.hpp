// SPDX-License-Identifier: MIT
// A request that is being answered, as its handler sees it: http_handler is what servers implement.
// Threads: that of its connection; an exchange may be moved to another thread and back while nobody else has it.
// Lifetime: owned by whoever has to do the next step; destroyed, it takes its connection along.
//
//     handler.handle(exchange)     on the thread of the connection, which has parsed the head
//         answer: fill exchange->response(), then http_exchange::respond(std::move(exchange)); at once or later
//         upload: exchange->body_reader() = ..., then http_exchange::read_body(std::move(exchange)); for each piece,
//                 body_reader()->on_body(exchange, ...) reads on or answers
#pragma once

#include "http/http_request.hpp"
#include "http/http_response.hpp"

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>

#include <exception>
#include <memory>
#include <utility>

namespace slabbuf::examples {

class blocking_threads;
class http_exchange;
using http_exchange_ptr = std::unique_ptr<http_exchange>;

/// Takes the body of a request, piece by piece.
class http_body_reader {
 public:
  virtual ~http_body_reader() = default;

  /// Bytes of the body, all of `piece`, which may be none; `last` when no more will follow. Or why they end early: the
  /// connection is of no more use then, but for what may be answered: timed_out, no_buffer_space when the budget had no
  /// room in time, message_size when they are not what HTTP has. The reader is the exchange's.
  virtual void on_body(http_exchange_ptr exchange, asio::error_code ec, buffer piece, bool last) = 0;
};

/// What there is of a connection only while a request is being answered.
struct http_exchange_state {
  http_request request;
  http_response response;
  std::unique_ptr<http_body_reader> body_reader;
};

class http_exchange {
 public:
  virtual ~http_exchange() = default;

  const http_request& request() const noexcept { return state_->request; }
  http_response& response() noexcept { return state_->response; }

  /// Where blocks for bodies come from. Never hold one while waiting for another: try_acquire().
  virtual concurrent_pool& buffers() noexcept = 0;
  /// Who asks. None when the connection has gone.
  virtual asio::ip::address peer() const noexcept = 0;
  /// What the connection runs on.
  virtual asio::io_context& context() noexcept = 0;
  /// For whatever has to wait for a disk.
  virtual blocking_threads& threads() noexcept = 0;

  /// Sends response(). Nothing of the request's body that has not been read will be.
  static void respond(http_exchange_ptr self) {
    http_exchange& exchange = *self;
    exchange.do_respond(std::move(self));
  }
  /// response().say(), then respond().
  static void respond(http_exchange_ptr self, int status, std::string_view why) {
    self->response().say(status, why);
    respond(std::move(self));
  }

  /// What has been thrown while it was worked on, in a few words: 503 for want of memory, otherwise 500, and the log
  /// says more.
  static void respond(http_exchange_ptr self, const std::exception_ptr& fault);

  /// Reads the next piece of the body for body_reader. The views of request() end here. A client that waits for a 100
  /// gets it.
  static void read_body(http_exchange_ptr self) {
    http_exchange& exchange = *self;
    exchange.do_read_body(std::move(self));
  }

  std::unique_ptr<http_body_reader>& body_reader() noexcept { return state_->body_reader; }

 protected:
  virtual void do_respond(http_exchange_ptr self) = 0;
  virtual void do_read_body(http_exchange_ptr self) = 0;

  http_exchange_state* state_ = nullptr;  // the connection's; null while it is idle
};

/// What a server does with requests. Made once for each of its threads, and called on that one alone.
class http_handler {
 public:
  virtual ~http_handler() = default;

  /// Must see to it that the exchange is answered, or destroyed, in the end. Throws std::bad_alloc: the connection
  /// ends.
  virtual void handle(http_exchange_ptr exchange) = 0;

  /// The last connection has been drained: whatever keeps the io_context at work must end.
  virtual void stop() {}
};

}  // namespace slabbuf::examples
