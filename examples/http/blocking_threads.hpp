// SPDX-License-Identifier: MIT
// A few threads for whatever has to wait for a disk, so that those that serve connections never do.
// Threads: run() from any; the work runs on one of these threads, what follows it on the io_context it came from.
// Lifetime: must outlive whoever gives it work; joined before the io_contexts that it posts to die.
#pragma once

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace slabbuf::examples {
namespace detail {

/// Memory for the one operation that brings a job home: it is there before the work begins, so that the way back cannot
/// fail.
class way_home {
 public:
  static constexpr std::size_t bytes = 256;

  void* room() noexcept { return room_.data(); }

 private:
  alignas(std::max_align_t) std::array<std::byte, bytes> room_;
};

/// Allocates from it. One allocation at a time, which is what asio::post() makes.
template <class T>
class way_home_allocator {
 public:
  using value_type = T;

  explicit way_home_allocator(way_home& way) noexcept : way_(&way) {}
  template <class U>
  way_home_allocator(const way_home_allocator<U>& other) noexcept : way_(other.way_) {}  // NOLINT: a rebound allocator

  T* allocate(std::size_t count) const noexcept {
    static_assert(sizeof(T) <= way_home::bytes);
    static_assert(alignof(T) <= alignof(std::max_align_t));
    return count == 1 ? static_cast<T*>(way_->room()) : nullptr;
  }
  void deallocate(T*, std::size_t) const noexcept {}

  template <class U>
  bool operator==(const way_home_allocator<U>& other) const noexcept {
    return way_ == other.way_;
  }

 private:
  template <class U>
  friend class way_home_allocator;

  way_home* way_;
};

}  // namespace detail

class blocking_threads {
 public:
  /// Throws std::system_error when the system has no threads left.
  explicit blocking_threads(std::size_t count = 4) : pool_(count) {}
  blocking_threads(const blocking_threads&) = delete;
  blocking_threads& operator=(const blocking_threads&) = delete;
  ~blocking_threads() { join(); }

  /// Returns when all work that was given is done; none must be given any more. What follows it has been posted then.
  void join() { pool_.join(); }

  /// Calls `work()` on one of the threads and then `then(fault, result)` on `home`, which has work until that is done:
  /// with no fault, or with what the work has thrown and a result of no meaning. Both may be move-only. Throws
  /// std::bad_alloc: then nothing will be called.
  template <class Work, class Then>
  void run(asio::io_context& home, Work work, Then then) {
    asio::post(pool_,
               leave<job<Work, Then>>{std::make_unique<job<Work, Then>>(home, std::move(work), std::move(then))});
  }

 private:
  template <class Work, class Then>
  struct job {
    using result_type = std::decay_t<std::invoke_result_t<Work&>>;

    job(asio::io_context& from, Work&& what, Then&& next)
        : home(from), guard(from.get_executor()), work(std::move(what)), then(std::move(next)) {}

    asio::io_context& home;
    asio::executor_work_guard<asio::io_context::executor_type> guard;
    Work work;
    Then then;
    std::exception_ptr fault;
    result_type result{};
    detail::way_home way;
  };

  // On `home`.
  template <class Job>
  struct arrive {
    using allocator_type = detail::way_home_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type(owned->way); }

    void operator()() { owned->then(std::move(owned->fault), std::move(owned->result)); }

    std::unique_ptr<Job> owned;
  };

  // On a thread of the pool.
  template <class Job>
  struct leave {
    void operator()() {
      Job& self = *owned;
      try {
        self.result = self.work();
      } catch (...) {
        self.fault = std::current_exception();
      }
      asio::post(self.home, arrive<Job>{std::move(owned)});
    }

    std::unique_ptr<Job> owned;
  };

  asio::thread_pool pool_;
};

}  // namespace slabbuf::examples
