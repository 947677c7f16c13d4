// SPDX-License-Identifier: MIT
// What OpenSSL reads and writes through: a source and sink over the descriptor of an engine. There is one a thread,
// lent to whichever connection takes a step there, because one for each connection would cost it 192 bytes.
// Threads: a BIO is used on its own thread only. References to it are counted atomically, so that a connection that is
// freed or goes on elsewhere gives its own back on any.
// Lifetime: until the thread has ended and the last connection that was lent it is gone or was lent another.
#pragma once

#include <slabbuf/net/detail/tls_engine.hpp>

#include <openssl/bio.h>

#include <cstdint>

namespace slabbuf::net::detail {

struct tls_engine::bio {
  /// The calling thread's; null when OpenSSL has no memory for one.
  static BIO* of_thread() noexcept;
};

/// A step of an engine, and what it knows: from here to the end of the scope, OpenSSL reads and writes `descriptor`.
class tls_engine::step {
 public:
  step(tls_engine& of, int opened) noexcept;
  step(const step&) = delete;
  step& operator=(const step&) = delete;
  ~step();

  tls_engine& engine;
  const int descriptor;
  int input_error = 0;              // errno of the receive that failed; end_of_input
  int output_error = 0;             // of the send
  std::uint32_t gather_wanted = 0;  // ciphertext bytes that this step will gather
  std::uint32_t received_bytes = 0;
  bool may_receive;                 // false: only what has been received
  bool received_all_asked = false;  // the descriptor had as much as there was room for
  bool gathers = false;             // more will follow: keep it
  bool keeps_rest = false;          // what the socket does not take is kept; else, OpenSSL keeps it
  bool blocked = false;             // the socket is full

 private:
  BIO* bio_;
  void* outer_;      // the step of another connection of this thread, in a callback of which this one is taken
  int outer_flags_;  // what its last call said
};

}  // namespace slabbuf::net::detail
