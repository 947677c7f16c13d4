// SPDX-License-Identifier: MIT
// A few threads for whatever has to wait for a disk, so that those that serve connections never do.
// Threads: run() from any; the work runs on one of these threads, what follows it on the io_context it came from.
// Lifetime: must outlive whoever gives it work; joined before the io_contexts that it posts to die.
#pragma once

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>

#include <cstddef>
#include <utility>

namespace slabbuf::examples {

class blocking_threads {
 public:
  /// Throws std::system_error when the system has no threads left.
  explicit blocking_threads(std::size_t count = 4) : pool_(count) {}
  blocking_threads(const blocking_threads&) = delete;
  blocking_threads& operator=(const blocking_threads&) = delete;
  ~blocking_threads() { join(); }

  /// Returns when all work that was given is done; none must be given any more. What follows it has been posted then.
  void join() { pool_.join(); }

  /// Calls `work()` on one of the threads and then `then(result)` on `home`, which has work until that is done. Both
  /// may be move-only. Throws std::bad_alloc: then nothing will be called.
  template <class Work, class Then>
  void run(asio::io_context& home, Work work, Then then) {
    asio::post(
        pool_, [&home, guard = asio::make_work_guard(home), work = std::move(work), then = std::move(then)]() mutable {
          auto result = work();
          asio::post(home, [then = std::move(then), result = std::move(result)]() mutable { then(std::move(result)); });
        });
  }

 private:
  asio::thread_pool pool_;
};

}  // namespace slabbuf::examples
