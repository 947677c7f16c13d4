// SPDX-License-Identifier: MIT
// Base of the composed operations: carries the final handler and passes on what Asio associates with
// it (executor, allocator, cancellation slot), so that the steps in between behave as the handler asks.
// Threads: as the operation.
// Lifetime: moves from step to step with the operation. The I/O object must live until completion.
//
// Every getter also works on a moved-from operation: Asio 1.22 asks for the allocator of handlers it
// has already moved from.
#pragma once

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>

#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

template <class IoObject, class Handler>
class associated_op {
 public:
  using executor_type = asio::associated_executor_t<Handler, typename IoObject::executor_type>;
  using allocator_type = asio::associated_allocator_t<Handler>;
  using cancellation_slot_type = asio::associated_cancellation_slot_t<Handler>;

  executor_type get_executor() const noexcept {
    return asio::get_associated_executor(handler_, io_object_->get_executor());
  }
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler_); }
  cancellation_slot_type get_cancellation_slot() const noexcept {
    return asio::get_associated_cancellation_slot(handler_);
  }

 protected:
  template <class H>
  associated_op(IoObject& io_object, H&& handler) : io_object_(&io_object), handler_(std::forward<H>(handler)) {}

  IoObject& io_object() const noexcept { return *io_object_; }

  /// Calls the final handler. The last thing an operation does.
  template <class... Results>
  void complete(Results&&... results) {
    std::move(handler_)(std::forward<Results>(results)...);
  }

 private:
  IoObject* io_object_;
  Handler handler_;
};

}  // namespace slabbuf::net::detail
