// SPDX-License-Identifier: MIT
// The pool by itself.
#include <slabbuf/pool/pool.hpp>

#include <cstdio>
#include <cstring>

int main() {
  slabbuf::local_pool pool;
  slabbuf::buffer message = pool.acquire(6);
  std::memcpy(message.data(), "hello", 6);
  std::printf("slabbuf %s: %s\n", SLABBUF_VERSION_STRING, reinterpret_cast<const char*>(message.data()));
  return pool.stats().in_use == 1 ? 0 : 1;
}
