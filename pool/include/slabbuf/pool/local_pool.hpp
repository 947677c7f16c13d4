// SPDX-License-Identifier: MIT
// The pool of one thread: no atomics that cost, no locks.
// Threads: every call, and the end of every buffer, on one thread; for one io_context run by one
// thread, or with outside synchronisation.
// Lifetime: outlives its buffers (basic_pool.hpp says what happens otherwise).
#pragma once

#include <slabbuf/pool/basic_pool.hpp>

namespace slabbuf {

class local_pool final : public basic_pool<false> {
 public:
  using basic_pool::basic_pool;
};

}  // namespace slabbuf
