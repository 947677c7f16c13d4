// SPDX-License-Identifier: MIT
// A getaddrinfo(3) that finds nothing and does not give up, as with a name server that does not answer: for a program
// that is started with this library in LD_PRELOAD. As often as RESOLVER_ANSWERS says it is the system's, first.
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

extern "C" int getaddrinfo(const char*, const char*, const struct addrinfo*, struct addrinfo**) noexcept(false);

extern "C" int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints,
                           struct addrinfo** result) noexcept(false) {
  static std::atomic<int> calls{0};
  const char* const answers = std::getenv("RESOLVER_ANSWERS");
  if (answers != nullptr && calls++ < std::atoi(answers)) {
    const auto system = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    return system(node, service, hints, result);
  }
  for (;;) ::pause();
}
