// SPDX-License-Identifier: MIT
#include "baseline/allocation_counter.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "support/sanitizers.hpp"
namespace slabbuf::bench {
namespace {

constinit thread_local heap_use used{0, 0};

// Hides from the compiler what is done with the memory, or it drops the pair of calls altogether.
void* volatile sink = nullptr;

}  // namespace

bool allocation_counting_available() noexcept {
  const std::uint64_t before = heap_use_of_this_thread().allocations;
  sink = std::malloc(1);
  std::free(sink);
  return heap_use_of_this_thread().allocations != before;
}

// Volatile: compilers know that malloc changes no variable of a program, and would remember the numbers.
heap_use heap_use_of_this_thread() noexcept {
  const volatile heap_use& now = used;
  return {now.allocations, now.bytes};
}

}  // namespace slabbuf::bench

#ifndef SLABBUF_SANITIZED

#include <dlfcn.h>

// NOLINTBEGIN(bugprone-reserved-identifier)
// The C library's own names: for the calls that arrive while the next malloc is being looked up.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace {

struct next_heap {
  void* (*malloc)(std::size_t) = &__libc_malloc;
  void* (*calloc)(std::size_t, std::size_t) = &__libc_calloc;
  void* (*realloc)(void*, std::size_t) = &__libc_realloc;
  void* (*memalign)(std::size_t, std::size_t) = &__libc_memalign;
};
constinit next_heap next{};
constinit bool looked_up = false;

template <class Function>
void look_up(Function& into, const char* name) {
  if (void* const found = ::dlsym(RTLD_NEXT, name)) into = reinterpret_cast<Function>(found);
}

[[gnu::noinline, gnu::cold]] void look_up_next() noexcept {
  looked_up = true;  // before the look-up, which may allocate
  next_heap found;
  look_up(found.malloc, "malloc");
  look_up(found.calloc, "calloc");
  look_up(found.realloc, "realloc");
  look_up(found.memalign, "memalign");
  next = found;
}

inline const next_heap& counted(std::size_t bytes) noexcept {
  ++slabbuf::bench::used.allocations;
  slabbuf::bench::used.bytes += bytes;
  // The first allocation of a program happens before it has a second thread.
  if (!looked_up) [[unlikely]]
    look_up_next();
  return next;
}

}  // namespace

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library's names are reserved ones
extern "C" {

void* malloc(std::size_t size) noexcept { return counted(size).malloc(size); }

void* calloc(std::size_t count, std::size_t size) noexcept { return counted(count * size).calloc(count, size); }

void* realloc(void* memory, std::size_t size) noexcept { return counted(size).realloc(memory, size); }

void* memalign(std::size_t alignment, std::size_t size) noexcept { return counted(size).memalign(alignment, size); }

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return counted(size).memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  void* const found = counted(size).memalign(alignment, size);
  if (found == nullptr) return ENOMEM;
  *memory = found;
  return 0;
}

}  // extern "C"
// NOLINTEND(readability-inconsistent-declaration-parameter-name)

#endif
