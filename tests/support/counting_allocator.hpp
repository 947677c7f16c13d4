// SPDX-License-Identifier: MIT
// Counts what the process takes from the heap, and makes it fail on demand: a program that links
// this has its own malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign in front of
// the C library's. operator new counts too, since it is made of these.
// Threads: counts are per thread, or of the process where the name says so.
#pragma once

#include <cstdint>

namespace slabbuf::support {

/// Whether allocations are seen at all: not under AddressSanitizer or ThreadSanitizer, whose own
/// malloc must stay, nor under Valgrind, which puts its operator new in front of everything.
bool heap_counting_available() noexcept;

/// Allocations so far, failed ones included.
std::uint64_t heap_allocations_of_this_thread() noexcept;
std::uint64_t heap_allocations_of_the_process() noexcept;

enum class heap_failure { once, from_then_on };

/// While it lives, the `nth` allocation of this thread (1 is the next one) finds no memory; with
/// from_then_on, neither does any later one. One at a time in a thread.
class failing_heap {
 public:
  failing_heap(std::uint64_t nth, heap_failure mode) noexcept;
  failing_heap(const failing_heap&) = delete;
  failing_heap& operator=(const failing_heap&) = delete;
  ~failing_heap();

  /// Whether an allocation has failed.
  bool failed() const noexcept;
};

}  // namespace slabbuf::support
