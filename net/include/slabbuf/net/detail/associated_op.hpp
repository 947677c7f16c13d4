// SPDX-License-Identifier: MIT
// Base of the composed operations: carries the final handler and passes on what Asio associates with
// it (executor, allocator, cancellation), so that the steps in between behave as the handler asks.
// Threads: as the operation. As with Asio's own composed operations, the steps run on the handler's
// executor and use the I/O object there: it must be the one that protects the object.
// Lifetime: moves from step to step with the operation. The I/O object must live until completion, and
// must not be moved or opened again before.
//
// A cancellation that comes between two steps finds no wait to end: it is kept, and cancelled() says
// so before the next one. Every getter also works on a moved-from operation: Asio 1.22 asks for the
// allocator of handlers it has already moved from.
#pragma once

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_state.hpp>

#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

template <class IoObject, class Handler>
class associated_op {
 public:
  using executor_type = asio::associated_executor_t<Handler, typename IoObject::executor_type>;
  using allocator_type = asio::associated_allocator_t<Handler>;
  using cancellation_slot_type = asio::cancellation_slot;

  executor_type get_executor() const noexcept {
    return asio::get_associated_executor(handler_, io_object_->get_executor());
  }
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler_); }
  cancellation_slot_type get_cancellation_slot() const noexcept { return cancellation_.slot(); }

 protected:
  /// `filter` is one of Asio's: which types of cancellation the operation takes notice of.
  template <class H, class Filter>
  associated_op(IoObject& io_object, H&& handler, Filter filter)
      : io_object_(&io_object),
        descriptor_(io_object.native_handle()),
        handler_(std::forward<H>(handler)),
        cancellation_(asio::get_associated_cancellation_slot(handler_), filter, filter) {}

  IoObject& io_object() const noexcept { return *io_object_; }

  /// The descriptor the operation began with; the I/O object may have been closed since.
  int descriptor() const noexcept { return descriptor_; }

  /// Whether a step that finds everything well must not be followed by another one: the operation was
  /// cancelled, or the I/O object is not the descriptor any more that it began with.
  bool ended() const noexcept {
    return cancellation_.cancelled() != asio::cancellation_type::none || io_object_->native_handle() != descriptor_;
  }
  bool closed() const noexcept { return io_object_->native_handle() != descriptor_; }

  /// For an operation that goes on as another one, which has the handler from here on.
  Handler take_handler() {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) slot.clear();
    return std::move(handler_);
  }

  /// Calls the final handler. The last thing an operation does.
  template <class... Results>
  void complete(Results&&... results) {
    // What is emitted from here on must not reach into a socket that may be gone.
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) slot.clear();
    std::move(handler_)(std::forward<Results>(results)...);
  }

 private:
  IoObject* io_object_;
  int descriptor_;
  Handler handler_;
  asio::cancellation_state cancellation_;
};

}  // namespace slabbuf::net::detail
