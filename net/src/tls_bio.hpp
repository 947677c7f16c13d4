// SPDX-License-Identifier: MIT
// What OpenSSL reads and writes through: a source and sink over the descriptor of an engine. There is one a thread,
// lent to whichever connection takes a step there, because one for each connection would cost it 192 bytes.
// Threads: a BIO is used on its own thread only. References to it are counted atomically, so that a connection that is
// freed or goes on elsewhere gives its own back on any.
// Lifetime: until the thread has ended and the last connection that was lent it is gone or was lent another.
#pragma once

#include <slabbuf/net/detail/tls_engine.hpp>

#include <openssl/bio.h>

namespace slabbuf::net::detail {

struct tls_engine::bio {
  /// The calling thread's; null when OpenSSL has no memory for one.
  static BIO* of_thread() noexcept;
};

/// A step of an engine: from here to the end of the scope, OpenSSL reads and writes `descriptor`.
class tls_engine::step {
 public:
  step(tls_engine& engine, int descriptor) noexcept;
  step(const step&) = delete;
  step& operator=(const step&) = delete;
  ~step();

 private:
  SSL* ssl_;
  BIO* bio_;
};

}  // namespace slabbuf::net::detail
