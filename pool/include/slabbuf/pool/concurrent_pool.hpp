// SPDX-License-Identifier: MIT
// The pool of many threads: each has a cache of its own, blocks may be freed anywhere.
// Threads: every call from any thread; the constructor and the destructor alone with the pool. No call from a signal
// handler: it could come in the middle of another one of its thread.
// Lifetime: outlives its buffers (basic_pool.hpp says what happens otherwise). A thread that exits
// gives its cache back by itself.
//
// Where it does not fit: programs that create a thread per request pay for a cache each time.
#pragma once

#include <slabbuf/pool/basic_pool.hpp>

namespace slabbuf {

class concurrent_pool final : public basic_pool<true> {
 public:
  using basic_pool::basic_pool;
};

}  // namespace slabbuf
