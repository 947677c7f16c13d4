// SPDX-License-Identifier: MIT
#include "support/udp_batch_fixture.hpp"

#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>

namespace slabbuf::support {

thread_local std::function<int()> on_receive;
thread_local std::function<int()> on_send;
thread_local int unknown_option = 0;

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

bool is_unknown(int level, int name) {
  if (level != IPPROTO_UDP || name != slabbuf::support::unknown_option) return false;
  errno = ENOPROTOOPT;
  return true;
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
extern "C" int getsockopt(int descriptor, int level, int name, void* value, ::socklen_t* bytes) noexcept {
  static const auto call = next<decltype(&::getsockopt)>("getsockopt");
  return is_unknown(level, name) ? -1 : call(descriptor, level, name, value, bytes);
}
extern "C" int setsockopt(int descriptor, int level, int name, const void* value, ::socklen_t bytes) noexcept {
  static const auto call = next<decltype(&::setsockopt)>("setsockopt");
  return is_unknown(level, name) ? -1 : call(descriptor, level, name, value, bytes);
}
