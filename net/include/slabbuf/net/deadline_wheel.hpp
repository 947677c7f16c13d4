// SPDX-License-Identifier: MIT
// Deadlines of many connections for the price of one timer: nothing is allocated, and no system call made, when one is
// put off, where a steady_timer beside each operation costs up to two allocations and `read || timer` eighteen.
// Threads: one at a time: that of the wheel's executor (its io_context runs on one thread, or it is a strand's).
// Lifetime: the io_context must outlive the wheel. A deadline may outlive its wheel: it then never expires, and must
// not be armed. While a deadline of it is armed, and a tick longer, a wheel is work that keeps io_context::run() from
// returning.
//
//     deadline_wheel wheel(context);                                       // one per thread
//     ...
//     deadline idle(wheel, [&socket] { socket.close(); });                 // one per connection
//     for (;;) {
//       idle.expires_after(30s);                                           // a store
//       co_await async_read_some(socket, pool, token);                     // ends with operation_aborted if it expired
//     }
//
// Time is counted in ticks of the wheel, one for each time its timer fires: a deadline expires never early, and at most
// two ticks late. A thread that was too busy to tick in time counts one tick all the same, and everything expires that
// much later: peers do not pay for time in which nobody looked.
#pragma once

#include <slabbuf/net/detail/timing_wheel.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/error_code.hpp>
#include <asio/execution_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace slabbuf::net {
namespace detail {

// What deadlines know of their wheel, whatever its executor.
class ticking {
 public:
  using duration = std::chrono::steady_clock::duration;

  explicit ticking(duration tick) : tick_(tick) {
    if (tick <= duration::zero()) throw std::invalid_argument("deadline_wheel: a tick must be longer than nothing");
  }

  timing_wheel wheel;

  // Whole ticks that are no shorter, when the one that runs now does not count.
  std::uint32_t ticks_in(duration time) const noexcept {
    if (time <= duration::zero()) return 1;
    const auto whole = static_cast<std::uint64_t>((time - duration(1)) / tick_) + 2;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(whole, timing_wheel::ticks_max));
  }
  duration tick() const noexcept { return tick_; }

  // Sees to it that ticks come.
  void start() {
    if (!running_) start_timer();
  }

 protected:
  ~ticking() = default;
  virtual void start_timer() = 0;

  bool running_ = false;

 private:
  const duration tick_;
};

}  // namespace detail

/// What every deadline is, whatever it does when it expires.
class basic_deadline : private detail::timing_wheel::entry {
 public:
  basic_deadline(const basic_deadline&) = delete;
  basic_deadline& operator=(const basic_deadline&) = delete;

  /// Arms it: it expires after `time` instead of whenever it would have, or as soon as it can when `time` is not
  /// positive. More than 2^30 ticks (three years, of 100 ms) are as many. Throws what starting a timer throws, when no
  /// other deadline of the wheel is armed; it is not armed then.
  void expires_after(std::chrono::steady_clock::duration time) {
    ticks_ = clock_->ticks_in(time);
    restart();
  }

  /// Arms it as expires_after() did last, at the price of a store.
  void restart() {
    clock_->start();
    clock_->wheel.arm(*this, ticks_);
    expired_ = false;
  }

  /// Disarms it. Whether it had expired stays known.
  void cancel() noexcept {
    if (armed()) clock_->wheel.disarm(*this);  // the wheel is there: it disarms all when it dies
  }

  bool armed() const noexcept { return detail::timing_wheel::is_armed(*this); }

  /// Whether it has expired since it was armed last.
  bool expired() const noexcept { return expired_; }

  /// Lets it expire now.
  void expire() {
    cancel();
    expired_ = true;
    action_(*this);
  }

 protected:
  using action = void (*)(basic_deadline&);

  basic_deadline(detail::ticking& clock, action on_expiry) noexcept : clock_(&clock), action_(on_expiry) {}
  ~basic_deadline() { cancel(); }

 private:
  template <class Executor>
  friend class deadline_wheel;

  bool expired_ = false;  // these two in the padding of the base
  std::uint32_t ticks_ = 1;
  detail::ticking* clock_;
  action action_;
};

/// Its deadlines keep its address: it stays where it is.
template <class Executor = asio::any_io_executor>
class deadline_wheel {
 public:
  static constexpr std::chrono::milliseconds tick_default{100};

  /// Runs no timer before a deadline is armed. `tick` is the precision: 100 ms wake the thread ten times a second while
  /// anything is armed. Throws std::invalid_argument for a tick that is not positive, and std::bad_alloc.
  explicit deadline_wheel(const Executor& executor, std::chrono::steady_clock::duration tick = tick_default)
      : running_(std::make_shared<running>(executor, tick)) {}
  template <class Context>
  requires std::is_convertible_v<Context&, asio::execution_context&>
  explicit deadline_wheel(Context& context, std::chrono::steady_clock::duration tick = tick_default)
      : deadline_wheel(Executor(context.get_executor()), tick) {}

  deadline_wheel(const deadline_wheel&) = delete;
  deadline_wheel& operator=(const deadline_wheel&) = delete;
  ~deadline_wheel() { stop(); }

  /// Calls `action(basic_deadline&)` for every armed deadline: to let all expire(), or to give all less time, when a
  /// server stops. The action may arm, cancel and destroy any of them; it must not throw.
  template <class Action>
  void for_each(Action action) {
    running_->wheel.for_each([&](detail::timing_wheel::entry& each) { action(static_cast<basic_deadline&>(each)); });
  }

  /// No deadline expires from here on, and it is no work for its io_context, until one is armed. What was armed stays
  /// so.
  void stop() { running_->stop(); }

 private:
  template <class Action>
  friend class deadline;

  // The handler holds it weakly: it may be on its way when the wheel dies.
  struct running final : detail::ticking, std::enable_shared_from_this<running> {
    running(const Executor& executor, duration tick) : ticking(tick), timer(executor) {}

    void start_timer() override { wait(); }
    void stop() {
      timer.cancel();
      ++starts;
      this->running_ = false;
    }
    void wait() {
      this->running_ = false;  // whatever throws: the next deadline that is armed starts it again
      // From now, not from when the tick before was due: ticks that catch up would let a deadline expire early.
      timer.expires_after(this->tick());
      timer.async_wait([weak = this->weak_from_this(), start = starts](asio::error_code ec) {
        const std::shared_ptr<running> self = weak.lock();
        // One that had expired cannot be cancelled: it is of another start then.
        if (ec || self == nullptr || self->starts != start) return;
        self->on_tick();
      });
      this->running_ = true;
    }
    // The next tick comes also when an action throws.
    void on_tick() {
      wait();
      const auto expire = [](detail::timing_wheel::entry& each) { static_cast<basic_deadline&>(each).expire(); };
      if (!this->wheel.advance(expire)) stop();
    }

    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor> timer;
    std::uint32_t starts = 0;
  };

  std::shared_ptr<running> running_;
};

/// One deadline, of a connection say. Not armed at first; when it dies, it does not expire any more.
template <class Action>
class deadline final : public basic_deadline {
 public:
  /// `on_expiry()` runs on the wheel's executor, or in expire(). It may do anything with any deadline of the wheel;
  /// destroying its own must be the last thing it does. What it throws comes out of io_context::run(), and costs no
  /// other deadline anything.
  template <class Executor>
  deadline(deadline_wheel<Executor>& wheel, Action on_expiry)
      : basic_deadline(*wheel.running_, [](basic_deadline& self) { static_cast<deadline&>(self).on_expiry_(); }),
        on_expiry_(std::move(on_expiry)) {}

 private:
  Action on_expiry_;
};

template <class Executor, class Action>
deadline(deadline_wheel<Executor>&, Action) -> deadline<Action>;

template <class Context>
requires std::is_convertible_v<Context&, asio::execution_context&>
explicit deadline_wheel(Context&)->deadline_wheel<typename Context::executor_type>;
template <class Context>
requires std::is_convertible_v<Context&, asio::execution_context&> deadline_wheel(Context&,
                                                                                  std::chrono::steady_clock::duration)
->deadline_wheel<typename Context::executor_type>;

}  // namespace slabbuf::net
