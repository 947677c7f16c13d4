// SPDX-License-Identifier: MIT
#include "support/epoll_calls.hpp"

#include <dlfcn.h>
#include <sys/epoll.h>

#include <cerrno>

namespace slabbuf::support {

constinit epoll_call_counts epoll_calls;
thread_local int epoll_ctl_error = 0;

}  // namespace slabbuf::support

extern "C" int epoll_ctl(int set, int action, int descriptor, ::epoll_event* event) noexcept {
  static auto* const real = reinterpret_cast<int (*)(int, int, int, ::epoll_event*)>(::dlsym(RTLD_NEXT, "epoll_ctl"));
  ++slabbuf::support::epoll_calls.ctl;
  if (slabbuf::support::epoll_ctl_error != 0) {
    errno = slabbuf::support::epoll_ctl_error;
    return -1;
  }
  return real(set, action, descriptor, event);
}

extern "C" int epoll_wait(int set, ::epoll_event* events, int count, int timeout) {
  static auto* const real = reinterpret_cast<int (*)(int, ::epoll_event*, int, int)>(::dlsym(RTLD_NEXT, "epoll_wait"));
  ++slabbuf::support::epoll_calls.wait;
  return real(set, events, count, timeout);
}
