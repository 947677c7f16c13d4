// SPDX-License-Identifier: MIT
// A getaddrinfo(3) that finds nothing and does not give up, as with a name server that does not answer: for a program
// that is started with this library in LD_PRELOAD.
#include <netdb.h>
#include <unistd.h>

extern "C" int getaddrinfo(const char*, const char*, const struct addrinfo*, struct addrinfo**) noexcept(false);

extern "C" int getaddrinfo(const char*, const char*, const struct addrinfo*, struct addrinfo**) noexcept(false) {
  for (;;) ::pause();
}
