// SPDX-License-Identifier: MIT
// Gives a pool's idle memory back to the system, by a timer: pool.decay() once a period.
// Threads: construction, stop() and destruction by one thread at a time, which may be another one than runs
// the io_context: they wait for a decay() that is under way. A local_pool's executor must be that of the
// pool's own thread.
// Lifetime: the pool and the io_context must outlive it; it may die at any moment, also while its handler
// is queued. Until it is stopped, it is work that keeps io_context::run() from returning.
//
// decay() takes about 25 us for each MiB that goes. A server whose pool may shrink by gigabytes gives the
// timer an io_context of another thread; a concurrent_pool allows that.
#pragma once

#include <slabbuf/pool/basic_pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/error_code.hpp>
#include <asio/execution_context.hpp>

#include <chrono>
#include <memory>
#include <mutex>
#include <type_traits>

namespace slabbuf::net {

template <class Executor = asio::any_io_executor>
class decay_timer {
 public:
  /// Starts it. Runs nothing when the pool has decay switched off. Throws std::bad_alloc, and what a
  /// timer's constructor throws.
  template <buffer_pool Pool>
  decay_timer(const Executor& executor, Pool& pool) {
    if (pool.decay_period() <= pool.decay_period().zero()) return;
    running_ = std::make_shared<running>(executor, pool.core());
    running_->start();
  }
  template <class Context, buffer_pool Pool>
  requires std::is_convertible_v<Context&, asio::execution_context&> decay_timer(Context& context, Pool& pool)
      : decay_timer(Executor(context.get_executor()), pool) {}

  decay_timer(const decay_timer&) = delete;
  decay_timer& operator=(const decay_timer&) = delete;
  ~decay_timer() { stop(); }

  /// Ends it, for good: from here on it is no work for its io_context.
  void stop() {
    if (running_ != nullptr) running_->stop();
    running_.reset();
  }

 private:
  // The handler holds it weakly: it may be on its way when the decay_timer dies.
  struct running : std::enable_shared_from_this<running> {
    running(const Executor& executor, slabbuf::detail::pool_core& decaying) : timer(executor), pool(decaying) {}

    void start() {
      const std::lock_guard lock(mutex);
      wait();
    }
    void stop() {
      const std::lock_guard lock(mutex);
      stopped = true;
      timer.cancel();
    }
    void wait() {
      timer.expires_after(pool.decay_period());
      timer.async_wait([weak = this->weak_from_this()](asio::error_code ec) {
        const std::shared_ptr<running> self = weak.lock();
        if (ec || self == nullptr) return;
        const std::lock_guard lock(self->mutex);
        if (self->stopped) return;
        self->pool.decay(std::chrono::steady_clock::now());
        self->wait();
      });
    }

    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor> timer;
    slabbuf::detail::pool_core& pool;
    std::mutex mutex;  // held over decay(), and whatever is done with the timer
    bool stopped = false;
  };

  std::shared_ptr<running> running_;
};

template <class Context, buffer_pool Pool>
requires std::is_convertible_v<Context&, asio::execution_context&> decay_timer(Context&, Pool&)
->decay_timer<typename Context::executor_type>;
template <class Executor, buffer_pool Pool>
decay_timer(const Executor&, Pool&) -> decay_timer<Executor>;

}  // namespace slabbuf::net
