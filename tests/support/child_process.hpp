// SPDX-License-Identifier: MIT
// A program under test, started as a child: its output, its exit status, signals to it.
// Threads: one.
// Lifetime: a child that still runs when the object dies is killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace slabbuf::support {

class child_process {
 public:
  /// A resource of setrlimit(2), and how much of it the child may have.
  struct limited {
    int resource;
    std::uint64_t most;
  };

  /// Starts `arguments[0]` with its standard output and error captured. It dies with this process.
  /// Throws std::system_error.
  explicit child_process(const std::vector<std::string>& arguments, std::optional<limited> resource = std::nullopt);
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process();

  /// The next line of its standard output, without the end of line; empty at its end. Throws
  /// std::runtime_error when none comes within `limit`.
  std::string read_line();

  void signal(int number) const;

  /// Waits until it exits; its exit status, or minus the signal that ended it. Throws
  /// std::runtime_error after `limit`.
  int wait();

  /// All it has printed to standard error so far.
  std::string standard_error();

  ::pid_t id() const noexcept { return id_; }

  /// Generous: programs under valgrind and sanitizers on a busy machine.
  static constexpr std::chrono::seconds limit{120};

 private:
  ::pid_t id_ = -1;
  int output_ = -1;
  int error_ = -1;
  std::string unread_;
};

/// The same program, with a standard output that takes nothing (full(4)).
inline std::vector<std::string> without_output(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"});
  return arguments;
}

}  // namespace slabbuf::support
