// SPDX-License-Identifier: MIT
// Waiting for a child's end, and not for ever.
// Threads: any; for one child, one.
// Lifetime: nothing is kept. What has ended is waited for no more: its id may be another process's.
#pragma once

#include <poll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <system_error>

namespace slabbuf::support {

/// What waitpid(2) says of it; nothing when it has not ended within `limit`. Throws std::system_error.
inline std::optional<int> status_at_end(::pid_t child, std::chrono::milliseconds limit) {
  // A descriptor of the process becomes readable when it ends: no polling, no SIGCHLD.
  const int process = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  if (process < 0) throw std::system_error(errno, std::generic_category(), "pidfd_open");
  ::pollfd ended{process, POLLIN, 0};
  const int ready = ::poll(&ended, 1, static_cast<int>(limit.count()));
  ::close(process);
  if (ready == 0) return std::nullopt;
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace slabbuf::support
