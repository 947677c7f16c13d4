// SPDX-License-Identifier: MIT
#include "support/udp_batch_fixture.hpp"

#include <dlfcn.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>

namespace slabbuf::support {

thread_local std::function<int()> on_receive;
thread_local std::function<int()> on_send;

}  // namespace slabbuf::support

namespace {

template <class Call>
Call next(const char* name) {
  return reinterpret_cast<Call>(::dlsym(RTLD_NEXT, name));
}

bool fails(const std::function<int()>& hook) {
  const int error = hook ? hook() : 0;
  if (error != 0) errno = error;
  return error != 0;
}

}  // namespace

// In front of the C library's, for everything in this program.
extern "C" int recvmmsg(int descriptor, ::mmsghdr* headers, unsigned count, int flags, ::timespec* timeout) {
  static const auto call = next<decltype(&::recvmmsg)>("recvmmsg");
  return fails(slabbuf::support::on_receive) ? -1 : call(descriptor, headers, count, flags, timeout);
}
extern "C" int sendmmsg(int descriptor, ::mmsghdr* headers, unsigned count, int flags) {
  static const auto call = next<decltype(&::sendmmsg)>("sendmmsg");
  return fails(slabbuf::support::on_send) ? -1 : call(descriptor, headers, count, flags);
}
