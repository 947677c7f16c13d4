// SPDX-License-Identifier: MIT
// A wait for readiness that is under way, and the handler it calls.
// Threads: as epoll_service, which has it.
// Lifetime: from make() to complete() or destroy(), each of which frees it before the handler is called or destroyed.
//
// A connection waits for its next bytes nearly always: the room for that wait is part of what the service has of each
// descriptor, and nothing is allocated. What does not fit, and a second wait, is in memory of the handler's allocator.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_executor.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/recycling_allocator.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

class epoll_wait;

/// The same in one word as epoll_wait_queue, for the one wait that there is nearly always.
class epoll_wait_list {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  inline void push(epoll_wait& added) noexcept;
  inline epoll_wait& pop() noexcept;
  /// The one of this number; null when it is not in there.
  inline epoll_wait* remove(std::uint64_t number) noexcept;

 private:
  epoll_wait* first_ = nullptr;
};

/// What the service has of a descriptor. Lives as long as the service; descriptors come and go.
struct epoll_entry {
  static constexpr std::size_t room_bytes = 144;  // reads of this library, TLS among them

  int descriptor = -1;
  std::uint32_t interest = 0;  // EPOLLIN, EPOLLOUT, EPOLLET: what the set has been asked for; 0: it is not in the set
  epoll_wait_list waits[2];    // by readiness
  epoll_entry* next_free = nullptr;
  std::uint64_t waits_begun = 0;
  std::atomic<std::uint32_t> cancellations{0};  // of all that is under way
  std::atomic<bool> room_taken{false};  // the next wait may be on another thread than the handler of the last one
  alignas(std::max_align_t) std::byte room[room_bytes];  // for one wait

  static constexpr bool room_fits(std::size_t bytes, std::size_t alignment) noexcept {
    return bytes <= room_bytes && alignment <= alignof(std::max_align_t);
  }
};

class epoll_wait {
  using end_function = void (*)(epoll_wait*, bool calls);
  end_function end_;

 public:
  epoll_wait(const epoll_wait&) = delete;
  epoll_wait& operator=(const epoll_wait&) = delete;

  /// Calls the handler, in here unless it has an executor of its own.
  void complete() { end_(this, true); }
  /// Destroys the handler.
  void destroy() { end_(this, false); }

  epoll_wait* next = nullptr;
  const std::uint64_t number;  // of its descriptor: what a late cancellation knows it by
  int error = 0;               // the system's: what the handler is told

 protected:
  epoll_wait(end_function end, std::uint64_t number_of_it) noexcept : end_(end), number(number_of_it) {}
  ~epoll_wait() = default;
};

inline void epoll_wait_list::push(epoll_wait& added) noexcept {
  epoll_wait** end = &first_;
  while (*end != nullptr) end = &(*end)->next;
  *end = &added;
  added.next = nullptr;
}
inline epoll_wait& epoll_wait_list::pop() noexcept { return *std::exchange(first_, first_->next); }
inline epoll_wait* epoll_wait_list::remove(std::uint64_t number) noexcept {
  for (epoll_wait** each = &first_; *each != nullptr; each = &(*each)->next) {
    if ((*each)->number == number) return std::exchange(*each, (*each)->next);
  }
  return nullptr;
}

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

/// What a wait came to. One that was ready is cancelled all the same when its descriptor's waits are before the handler
/// is called: then the socket may be gone.
class epoll_wait_result {
 public:
  epoll_wait_result(epoll_entry& entry, std::uint32_t cancellations, int error) noexcept
      : entry_(&entry), cancellations_(cancellations), error_(error) {}

  asio::error_code code() const noexcept {
    if (error_ != 0) return {error_, asio::error::get_system_category()};
    if (entry_->cancellations.load(std::memory_order_acquire) != cancellations_) return asio::error::operation_aborted;
    return {};
  }

 private:
  epoll_entry* entry_;
  std::uint32_t cancellations_;
  int error_;
};

/// A handler and what it is called with, on its way to an executor of its own.
template <class Handler, class Result>
struct ended_wait {
  using allocator_type = asio::associated_allocator_t<Handler>;
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
  void operator()() { std::move(handler)(result.code()); }

  Handler handler;
  Result result;
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
  /// In the entry's room when that is free and large enough. Throws what the allocator throws; the handler is there
  /// still then.
  template <class H>
  static epoll_wait& make(H&& handler, const executor& there, epoll_entry& entry) {
    const bool in_room = epoll_entry::room_fits(sizeof(epoll_wait_op), alignof(epoll_wait_op)) &&
                         !entry.room_taken.exchange(true, std::memory_order_acquire);
    allocator memory(asio::get_associated_allocator(handler, recycling()));
    void* const place = in_room ? static_cast<void*>(entry.room) : traits::allocate(memory, 1);
    try {
      return *new (place) epoll_wait_op(std::forward<H>(handler), there, entry);
    } catch (...) {
      free(place, entry, memory);
      throw;
    }
  }

 private:
  template <class H>
  epoll_wait_op(H&& handler, const executor& there, epoll_entry& entry)
      : epoll_wait(&epoll_wait_op::end, ++entry.waits_begun),
        cancellations_(entry.cancellations.load(std::memory_order_relaxed)),
        entry_(&entry),
        handler_(std::forward<H>(handler)),
        work_(there) {}

  static void free(void* place, epoll_entry& entry, allocator memory) noexcept {
    if (place == entry.room) {
      entry.room_taken.store(false, std::memory_order_release);
    } else {
      traits::deallocate(memory, static_cast<epoll_wait_op*>(place), 1);
    }
  }

  static void end(epoll_wait* base, bool calls) {
    auto* const self = static_cast<epoll_wait_op*>(base);
    epoll_entry& entry = *self->entry_;
    const epoll_wait_result result(entry, self->cancellations_, self->error);
    [[maybe_unused]] const work working(std::move(self->work_));
    Handler handler(std::move(self->handler_));
    self->~epoll_wait_op();
    free(self, entry, allocator(asio::get_associated_allocator(handler, recycling())));
    if (!calls) return;
    if constexpr (Elsewhere) {
      const executor there = working.get_executor();
      ended_wait<Handler, epoll_wait_result> ended{std::move(handler), result};
      if constexpr (may_be_strand<executor>) {
        // Not in here, which a strand that is free would: handlers of different strands may wait for each other.
        asio::post(there, std::move(ended));
      } else {
        asio::dispatch(there, std::move(ended));
      }
    } else {
      std::move(handler)(result.code());
    }
  }

  template <class E>
  static constexpr bool may_be_strand = std::is_same_v<E, asio::any_io_executor> || requires(const E& executor_of_it) {
    executor_of_it.get_inner_executor();
  };

  std::uint32_t cancellations_;
  epoll_entry* entry_;
  Handler handler_;
  [[no_unique_address]] work work_;
};

/// A wait of this handler for a descriptor, in a service of this executor. Throws what the handler's allocator throws.
template <class Handler>
epoll_wait& make_epoll_wait(Handler&& handler, const asio::io_context::executor_type& here, epoll_entry& entry) {
  using handler_type = std::decay_t<Handler>;
  using executor = asio::associated_executor_t<handler_type, asio::io_context::executor_type>;
  const executor there = asio::get_associated_executor(handler, here);
  // Not a strand, which could be made of it: that allocates.
  if constexpr (std::is_convertible_v<const asio::io_context::executor_type&, executor>) {
    if (there == static_cast<const executor&>(here))
      return epoll_wait_op<handler_type, false>::make(std::forward<Handler>(handler), there, entry);
  }
  return epoll_wait_op<handler_type, true>::make(std::forward<Handler>(handler), there, entry);
}

}  // namespace slabbuf::net::detail
