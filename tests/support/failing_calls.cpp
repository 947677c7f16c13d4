// SPDX-License-Identifier: MIT
// The calls by which an upload takes a file's place, one of which fails, or is never made because the process is
// killed: for a program that is started with this library in LD_PRELOAD.
//   FAILING_CALL=3      the third call of pwrite, fsync and renameat, whichever that is
//   FAILING_ERROR=28    fails with ENOSPC; without this, the process is killed instead of it
//   MISSING_SYSCALL=437 what syscall(2) says of this number is ENOSYS, as an older kernel does
#include <dlfcn.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>

namespace {

long number_of(const char* name) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::atol(text) : -1;
}

template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

std::atomic<long> calls{0};

// Whether this call is the one. Does not return when it is not to be made at all.
bool fails() {
  static const long which = number_of("FAILING_CALL");
  static const long error = number_of("FAILING_ERROR");
  if (++calls != which) return false;
  if (error < 0) ::raise(SIGKILL);
  errno = static_cast<int>(error);
  return true;
}

}  // namespace

extern "C" ssize_t pwrite(int file, const void* bytes, size_t count, off_t offset) {
  static auto* const real = original<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return fails() ? -1 : real(file, bytes, count, offset);
}

extern "C" int fsync(int file) {
  static auto* const real = original<int(int)>("fsync");
  return fails() ? -1 : real(file);
}

extern "C" int renameat(int from, const char* old_name, int to, const char* new_name) noexcept {
  static auto* const real = original<int(int, const char*, int, const char*)>("renameat");
  return fails() ? -1 : real(from, old_name, to, new_name);
}

// Known from when the library is loaded: what guards the first use of a static object may be a system call itself.
namespace {
auto* const real_syscall = original<long(long, ...)>("syscall");
const long missing = number_of("MISSING_SYSCALL");
}  // namespace

// As many arguments as a system call can have: what was not given is not looked at.
extern "C" long syscall(long number, ...) noexcept {
  auto* const real = real_syscall != nullptr ? real_syscall : original<long(long, ...)>("syscall");
  std::va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& each : arguments) each = va_arg(list, long);
  va_end(list);
  if (number == missing) {
    errno = ENOSYS;
    return -1;
  }
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
