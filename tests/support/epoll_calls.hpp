// SPDX-License-Identifier: MIT
// How often a program asks the system about readiness, and an error in place of an answer.
// Threads: the counts any; the error is the thread's that sets it.
// Lifetime: the program's; linking epoll_calls.cpp replaces epoll_ctl(2) and epoll_wait(2).
#pragma once

#include <atomic>

namespace slabbuf::support {

struct epoll_call_counts {
  std::atomic<int> ctl{0};
  std::atomic<int> wait{0};
};
extern epoll_call_counts epoll_calls;

/// What each epoll_ctl(2) of this thread fails with, unless 0.
extern thread_local int epoll_ctl_error;

}  // namespace slabbuf::support
