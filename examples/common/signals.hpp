// SPDX-License-Identifier: MIT
// SIGINT, SIGTERM and their like as events of an io_context.
// Threads: made before any other thread of the process; its action runs where the io_context runs.
// Lifetime: the io_context must outlive it.
//
// The signals are blocked and read from a signalfd(2): no handler interrupts a thread, so no system call of a server
// fails with EINTR, and none is lost where a handler would be put off (ThreadSanitizer does, and forgets some).
#pragma once

#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <functional>
#include <initializer_list>

namespace slabbuf::examples {

class signals {
 public:
  /// From here on `on_signal(number)` is called for each of these signals, for as long as this lives and the io_context
  /// runs. Threads started from now on inherit that they are blocked; so do child processes, which must unblock what
  /// they need. Throws std::system_error.
  signals(asio::io_context& context, std::initializer_list<int> numbers, std::function<void(int)> on_signal);

 private:
  void wait();
  void read_all();

  asio::posix::stream_descriptor descriptor_;
  std::function<void(int)> on_signal_;
};

}  // namespace slabbuf::examples
