// SPDX-License-Identifier: MIT
// Counts what a benchmark takes from the heap: a program that links this has its own malloc, calloc, realloc,
// aligned_alloc, memalign and posix_memalign in front of the real ones. operator new is made of these.
// Threads: each counts its own.
// Lifetime: from the first allocation of the program on.
//
// It costs each allocation two additions and one jump, and passes it to the malloc that would have been
// called: a preloaded allocator is still the one that is measured.
#pragma once

#include <cstdint>

namespace slabbuf::bench {

/// Whether allocations are seen: not under a sanitizer, whose own malloc must stay.
bool allocation_counting_available() noexcept;

struct heap_use {
  std::uint64_t allocations;
  std::uint64_t bytes;  // asked for
};

/// Of this thread so far.
heap_use heap_use_of_this_thread() noexcept;

}  // namespace slabbuf::bench
