// SPDX-License-Identifier: MIT
// A buffer when the budget has room for it: what acquire() refuses is waited for.
// Threads: any, for a concurrent_pool; the pool's own, for a local_pool.
// Lifetime: the pool must live until the handler has been called or destroyed. The buffer belongs to
// whoever receives it.
//
//     room at once        handler(ec, buffer), posted
//     none                in the pool's line, first come, first served; whoever gives back enough wakes it
//
// While anybody waits the pool caches nothing, so what is given back is there for the first in line.
//
// Deadlock rule: whoever waits must not hold what others wait for. An operation that holds a buffer tries
// first (try_acquire), and gives back what it has before it waits. A deadline is the user's: a steady_timer
// that cancels (a cancellation_signal, or `async_acquire(...) || timer.async_wait(...)`).
#pragma once

#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/error.hpp>
#include <asio/error_code.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/executor.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#include <asio/system_executor.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace slabbuf::net {
namespace detail {

/// Where the timer of a wait lives: with the handler, unless its executor has no context to live in
/// (use_future's).
template <class Executor>
inline constexpr bool has_context = asio::execution::is_executor<Executor>::value
                                        ? asio::can_query<const Executor&, asio::execution::context_t>::value
                                        : requires(const Executor& executor) {
  executor.context();
};
template <class Executor>
using timer_executor_t = std::conditional_t<has_context<Executor>, Executor, asio::system_executor>;

template <class Handler>
auto timer_executor(const Handler& handler) {
  if constexpr (has_context<asio::associated_executor_t<Handler>>) {
    return asio::get_associated_executor(handler);
  } else {
    return asio::system_executor();
  }
}

/// What has to stay where it is while an operation waits: the place in the pool's line, and a timer
/// that never expires. Asio keeps its wait, cancels it with the operation's slot, and destroys it with the
/// io_context; the pool ends it by cancelling, which allocates nothing and may happen on any thread.
template <class Executor, class Pool>
class acquire_wait : public slabbuf::detail::waiter {
 public:
  acquire_wait(const Executor& executor, Pool& pool, std::size_t wanted)
      : timer_(executor, std::chrono::steady_clock::time_point::max()), pool_(&pool) {
    size = wanted;
    told = [](waiter& self) noexcept { static_cast<acquire_wait&>(self).timer_.cancel(); };
  }
  acquire_wait(const acquire_wait&) = delete;
  acquire_wait& operator=(const acquire_wait&) = delete;
  ~acquire_wait() {
    asio::error_code ec;
    finish(ec);
  }

  /// Begins to wait. `op` destroys this object when it is called or destroyed, which may be before the
  /// call returns.
  template <class Op>
  void start(Op&& op) {
    Pool& pool = *pool_;
    timer_.async_wait(std::forward<Op>(op));
    pool.core().wait(*this);
  }

  /// Leaves the line. What the wait came to; nothing the second time.
  buffer finish(asio::error_code& ec) {
    Pool* const pool = std::exchange(pool_, nullptr);
    if (pool == nullptr) return {};
    if (pool->core().stop_waiting(*this)) {
      ec = asio::error::operation_aborted;
    } else if (block != nullptr) {
      return pool->adopt(pool->core().collect(*this), size);
    } else {
      ec = asio::error::no_memory;
    }
    return {};
  }

 private:
  asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor> timer_;
  Pool* pool_;
};

/// The wait's handler, and its owner.
template <class Handler, class Pool>
class acquire_op {
 public:
  using executor_type = asio::associated_executor_t<Handler>;
  using allocator_type = asio::associated_allocator_t<Handler>;
  using cancellation_slot_type = asio::associated_cancellation_slot_t<Handler>;

  executor_type get_executor() const noexcept { return asio::get_associated_executor(handler_); }
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler_); }
  cancellation_slot_type get_cancellation_slot() const noexcept {
    return asio::get_associated_cancellation_slot(handler_);
  }

  /// Starts an operation.
  static void start(Handler handler, Pool& pool, std::size_t size) {
    wait_allocator allocator(asio::get_associated_allocator(handler));
    wait_type* const memory = wait_traits::allocate(allocator, 1);
    wait_ptr wait(nullptr, {allocator});
    try {
      wait_traits::construct(allocator, memory, timer_executor(handler), pool, size);
      wait.reset(memory);
    } catch (...) {
      wait_traits::deallocate(allocator, memory, 1);
      throw;
    }
    wait_type& waiting = *wait;
    waiting.start(acquire_op(std::move(handler), std::move(wait)));
  }

  void operator()(asio::error_code) {
    // What is emitted from here on must not reach into a timer that is gone.
    auto slot = get_cancellation_slot();
    if (slot.is_connected()) slot.clear();
    asio::error_code ec;
    buffer got = wait_->finish(ec);
    wait_.reset();  // its memory is free again before the handler runs
    std::move(handler_)(ec, std::move(got));
  }

 private:
  using wait_type = acquire_wait<timer_executor_t<executor_type>, Pool>;
  using wait_allocator = typename std::allocator_traits<allocator_type>::template rebind_alloc<wait_type>;
  using wait_traits = std::allocator_traits<wait_allocator>;
  struct wait_deleter {
    wait_allocator allocator;
    void operator()(wait_type* dying) noexcept {
      wait_traits::destroy(allocator, dying);
      wait_traits::deallocate(allocator, dying, 1);
    }
  };
  using wait_ptr = std::unique_ptr<wait_type, wait_deleter>;

  acquire_op(Handler&& handler, wait_ptr wait) : handler_(std::move(handler)), wait_(std::move(wait)) {}

  Handler handler_;
  wait_ptr wait_;
};

/// Completes an operation that need not wait.
template <class Handler>
struct acquired_op {
  using allocator_type = asio::associated_allocator_t<Handler>;
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
  void operator()() { std::move(handler)(ec, std::move(got)); }

  Handler handler;
  asio::error_code ec;
  buffer got;
};

template <class Pool>
struct initiate_acquire {
  template <class Handler>
  void operator()(Handler&& handler, std::size_t size) const {
    using handler_type = std::decay_t<Handler>;
    asio::error_code ec;
    buffer got;
    if (!pool->can_ever_have(size)) {
      ec = asio::error::no_buffer_space;
    } else if (!pool->has_waiters()) {
      got = pool->try_acquire(size);
    }
    if (ec || got) {
      const auto executor = asio::get_associated_executor(handler);
      asio::post(executor, acquired_op<handler_type>{std::forward<Handler>(handler), ec, std::move(got)});
    } else {
      acquire_op<handler_type, Pool>::start(std::forward<Handler>(handler), *pool, size);
    }
  }

  Pool* pool;
};

}  // namespace detail

/// A buffer of `size` bytes as from pool.acquire(), waited for until the budget has room. Completes with
/// (error_code, buffer):
///  - no error: the buffer;
///  - no_buffer_space: the budget is smaller than one such block, so waiting would never end;
///  - no_memory: it was its turn, and the system had none;
///  - operation_aborted: cancelled. What it had got by then is delivered and not lost.
/// First come, first served among those who wait; acquire() and try_acquire() do not stand in line.
/// Completes through the handler's associated executor, never within the call. Supports every type of
/// cancellation. A plain callback has none but Asio's system executor, which is another thread: what a local_pool gives
/// must not go there, so bind an executor of the pool's thread to the handler (asio::bind_executor; coroutines have
/// one).
template <buffer_pool Pool, class Token>
auto async_acquire(Pool& pool, std::size_t size, Token&& token) {
  return asio::async_initiate<Token, void(asio::error_code, buffer)>(detail::initiate_acquire<Pool>{&pool}, token,
                                                                     size);
}

}  // namespace slabbuf::net
