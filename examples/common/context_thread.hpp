// SPDX-License-Identifier: MIT
// A thread for what a server does beside its connections: signals, timers.
// Threads: one makes and destroys it.
// Lifetime: the io_context must outlive it.
#pragma once

#include <asio/io_context.hpp>

#include <thread>

namespace slabbuf::examples {

/// Runs an io_context. When it dies it stops the io_context and waits for the thread, whatever was thrown meanwhile.
class context_thread {
 public:
  /// Throws std::system_error when the system has no thread left.
  explicit context_thread(asio::io_context& context) : context_(context), thread_([&context] { context.run(); }) {}
  context_thread(const context_thread&) = delete;
  context_thread& operator=(const context_thread&) = delete;
  ~context_thread() {
    context_.stop();
    thread_.join();
  }

 private:
  asio::io_context& context_;
  std::thread thread_;
};

}  // namespace slabbuf::examples
