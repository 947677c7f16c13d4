// SPDX-License-Identifier: MIT
// A wait for readiness that is under way, and the handler it calls.
// Threads: as epoll_service, which has it.
// Lifetime: from make() to complete() or destroy(), each of which frees it before the handler is called or destroyed.
//
// A connection waits for its next bytes nearly always: the room for that wait is part of what the service has of each
// descriptor, and nothing is allocated. What does not fit, and a second wait, is in memory of the handler's allocator.
#pragma once

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

/// Room for one wait: whoever sets `taken` has it.
struct epoll_wait_room {
  static constexpr std::size_t bytes_max = 128;  // most operations of this library
  alignas(std::max_align_t) std::byte bytes[bytes_max];
  std::atomic<bool> taken{false};  // the next wait may be on another thread than the handler of the last one
};

class epoll_wait {
 public:
  epoll_wait(const epoll_wait&) = delete;
  epoll_wait& operator=(const epoll_wait&) = delete;

  /// Calls the handler, in here unless it has an executor of its own.
  void complete() { end_(this, true); }
  /// Destroys the handler.
  void destroy() { end_(this, false); }

  epoll_wait* next = nullptr;
  int error = 0;  // the system's: what the handler is told

 protected:
  using end_function = void (*)(epoll_wait*, bool calls);
  explicit epoll_wait(end_function end) noexcept : end_(end) {}
  ~epoll_wait() = default;

 private:
  end_function end_;
};

/// First in, first out.
class epoll_wait_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  void push(epoll_wait& added) noexcept {
    added.next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = &added;
    last_ = &added;
  }
  epoll_wait& pop() noexcept {
    epoll_wait& popped = *first_;
    first_ = popped.next;
    return popped;
  }
  /// False when it is not in there.
  bool remove(const epoll_wait& removed) noexcept {
    epoll_wait* before = nullptr;
    for (epoll_wait* each = first_; each != nullptr; before = each, each = each->next) {
      if (each != &removed) continue;
      (before == nullptr ? first_ : before->next) = each->next;
      if (last_ == each) last_ = before;
      return true;
    }
    return false;
  }

 private:
  epoll_wait* first_ = nullptr;
  epoll_wait* last_ = nullptr;  // when there is a first one
};

/// A handler with what it is called with, on its way to an executor of its own.
template <class Handler>
struct ended_wait {
  using allocator_type = asio::associated_allocator_t<Handler>;
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
  void operator()() { std::move(handler)(ec); }

  Handler handler;
  asio::error_code ec;
};

template <class Handler>
class epoll_wait_op final : public epoll_wait {
  using io_executor = asio::io_context::executor_type;
  using executor = asio::associated_executor_t<Handler, io_executor>;
  using allocator =
      typename std::allocator_traits<asio::associated_allocator_t<Handler>>::template rebind_alloc<epoll_wait_op>;
  using traits = std::allocator_traits<allocator>;

 public:
  /// In `room` when that is free and large enough. Throws what the allocator throws; the handler is there still then.
  template <class H>
  static epoll_wait_op& make(H&& handler, const io_executor& context, epoll_wait_room& room) {
    constexpr bool fits =
        sizeof(epoll_wait_op) <= epoll_wait_room::bytes_max && alignof(epoll_wait_op) <= alignof(std::max_align_t);
    const bool in_room = fits && !room.taken.exchange(true, std::memory_order_acquire);
    allocator memory(asio::get_associated_allocator(handler));
    void* const place = in_room ? static_cast<void*>(room.bytes) : traits::allocate(memory, 1);
    try {
      return *new (place) epoll_wait_op(std::forward<H>(handler), context, in_room ? &room : nullptr);
    } catch (...) {
      free(place, in_room ? &room : nullptr, memory);
      throw;
    }
  }

  auto cancellation_slot() const noexcept { return asio::get_associated_cancellation_slot(handler_); }

 private:
  template <class H>
  epoll_wait_op(H&& handler, const io_executor& context, epoll_wait_room* room)
      : epoll_wait(&epoll_wait_op::end),
        context_(context),
        room_(room),
        handler_(std::forward<H>(handler)) {
    // Asio promises that a handler's executor has work as long as the operation is under way.
    const executor there = asio::get_associated_executor(handler_, context);
    if (!is_same(there, context)) work_.emplace(there);
  }

  // The service's own io_context, which has work as long as there are waits, and runs what completes.
  static bool is_same(const executor& there, const io_executor& context) noexcept {
    if constexpr (std::is_same_v<executor, io_executor>) {
      return there == context;
    } else {
      return false;
    }
  }

  static void free(void* place, epoll_wait_room* room, allocator memory) noexcept {
    if (room != nullptr) {
      room->taken.store(false, std::memory_order_release);
    } else {
      traits::deallocate(memory, static_cast<epoll_wait_op*>(place), 1);
    }
  }

  static void end(epoll_wait* base, bool calls) {
    auto* const self = static_cast<epoll_wait_op*>(base);
    asio::error_code ec;
    if (self->error != 0) ec.assign(self->error, asio::error::get_system_category());
    const io_executor context = self->context_;
    epoll_wait_room* const room = self->room_;
    [[maybe_unused]] const auto working = std::move(self->work_);
    Handler handler(std::move(self->handler_));
    self->~epoll_wait_op();
    free(self, room, allocator(asio::get_associated_allocator(handler)));
    if (!calls) return;
    // What is emitted from here on must not find the next wait, which may be in the same place.
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.clear();
    const executor there = asio::get_associated_executor(handler, context);
    if (is_same(there, context)) return std::move(handler)(ec);
    asio::dispatch(there, ended_wait<Handler>{std::move(handler), ec});
  }

  io_executor context_;
  epoll_wait_room* room_;
  Handler handler_;
  std::optional<asio::executor_work_guard<executor>> work_;
};

}  // namespace slabbuf::net::detail
