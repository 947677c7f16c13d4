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
#include <asio/recycling_allocator.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

/// Room for one wait: whoever sets `taken` has it.
struct epoll_wait_room {
  static constexpr std::size_t bytes_max = 144;  // reads of this library, TLS among them
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
class epoll_wait_queue {
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

 private:
  epoll_wait* first_ = nullptr;
  epoll_wait* last_ = nullptr;  // when there is a first one
};

/// The same in one word, for the one wait that there is nearly always.
class epoll_wait_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  void push(epoll_wait& added) noexcept {
    epoll_wait** end = &first_;
    while (*end != nullptr) end = &(*end)->next;
    *end = &added;
    added.next = nullptr;
  }
  epoll_wait& pop() noexcept { return *std::exchange(first_, first_->next); }
  /// False when it is not in there.
  bool remove(const epoll_wait& removed) noexcept {
    for (epoll_wait** each = &first_; *each != nullptr; each = &(*each)->next) {
      if (*each != &removed) continue;
      *each = removed.next;
      return true;
    }
    return false;
  }

 private:
  epoll_wait* first_ = nullptr;
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

/// A wait whose handler is called where the service's turns are; `Elsewhere`: one with another executor.
template <class Handler, bool Elsewhere>
class epoll_wait_op final : public epoll_wait {
  using executor = asio::associated_executor_t<Handler, asio::io_context::executor_type>;
  // Where the handler has none: what Asio takes the memory of its own operations from.
  using recycling = asio::recycling_allocator<void>;
  using allocator = typename std::allocator_traits<
      asio::associated_allocator_t<Handler, recycling>>::template rebind_alloc<epoll_wait_op>;
  using traits = std::allocator_traits<allocator>;

  // Asio promises that a handler's executor has work as long as the operation is under way. The service's io_context
  // has it anyway.
  struct no_work {
    explicit no_work(const executor&) noexcept {}
  };
  using work = std::conditional_t<Elsewhere, asio::executor_work_guard<executor>, no_work>;

 public:
  /// In `room` when that is free and large enough. Throws what the allocator throws; the handler is there still then.
  template <class H>
  static epoll_wait& make(H&& handler, const executor& there, epoll_wait_room& room) {
    constexpr bool fits =
        sizeof(epoll_wait_op) <= epoll_wait_room::bytes_max && alignof(epoll_wait_op) <= alignof(std::max_align_t);
    const bool in_room = fits && !room.taken.exchange(true, std::memory_order_acquire);
    allocator memory(asio::get_associated_allocator(handler, recycling()));
    void* const place = in_room ? static_cast<void*>(room.bytes) : traits::allocate(memory, 1);
    try {
      return *new (place) epoll_wait_op(std::forward<H>(handler), there, in_room ? &room : nullptr);
    } catch (...) {
      free(place, in_room ? &room : nullptr, memory);
      throw;
    }
  }

 private:
  template <class H>
  epoll_wait_op(H&& handler, const executor& there, epoll_wait_room* room)
      : epoll_wait(&epoll_wait_op::end), room_(room), handler_(std::forward<H>(handler)), work_(there) {}

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
    epoll_wait_room* const room = self->room_;
    [[maybe_unused]] const work working(std::move(self->work_));
    Handler handler(std::move(self->handler_));
    self->~epoll_wait_op();
    free(self, room, allocator(asio::get_associated_allocator(handler, recycling())));
    if (!calls) return;
    // What is emitted from here on must not find the next wait, which may be in the same place.
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.clear();
    if constexpr (Elsewhere) {
      const executor there = working.get_executor();
      asio::dispatch(there, ended_wait<Handler>{std::move(handler), ec});
    } else {
      std::move(handler)(ec);
    }
  }

  epoll_wait_room* room_;
  Handler handler_;
  [[no_unique_address]] work work_;
};

/// A wait with this handler, for a service of this executor: in `room` when that is free and large enough. Throws what
/// the handler's allocator throws.
template <class Handler>
epoll_wait& make_epoll_wait(Handler&& handler, const asio::io_context::executor_type& here, epoll_wait_room& room) {
  using handler_type = std::decay_t<Handler>;
  using executor = asio::associated_executor_t<handler_type, asio::io_context::executor_type>;
  const executor there = asio::get_associated_executor(handler, here);
  if constexpr (std::is_constructible_v<executor, const asio::io_context::executor_type&>) {
    if (there == executor(here))
      return epoll_wait_op<handler_type, false>::make(std::forward<Handler>(handler), there, room);
  }
  return epoll_wait_op<handler_type, true>::make(std::forward<Handler>(handler), there, room);
}

}  // namespace slabbuf::net::detail
