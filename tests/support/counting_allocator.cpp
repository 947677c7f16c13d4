// SPDX-License-Identifier: MIT
#include "support/counting_allocator.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "support/sanitizers.hpp"
namespace slabbuf::support {
namespace {

struct heap_of_thread {
  std::uint64_t allocations;
  std::uint64_t fail_at;  // value of `allocations`; 0: never
  heap_failure mode;
  bool failed;
};
constinit thread_local heap_of_thread here{};
constinit std::atomic<std::uint64_t> allocations_of_all{0};

// Hides from the compiler what is done with the memory, or it drops the pair of calls altogether.
void* volatile sink = nullptr;

// By way of an address the compiler cannot see through: compilers know that malloc changes no variable of a program,
// and would remember the number. A volatile access is not enough for clang 14 at -O3.
std::uint64_t allocations_so_far() noexcept {
  const heap_of_thread* where = &here;
  asm volatile("" : "+r"(where) : : "memory");
  return where->allocations;
}

bool is_counted(void* (*allocate)(), void (*release)(void*)) {
  const std::uint64_t before = allocations_so_far();
  sink = allocate();
  const bool counted = allocations_so_far() == before + 1;
  release(sink);
  return counted;
}

}  // namespace

bool heap_counting_available() noexcept {
  static const bool available =
      is_counted([] { return std::malloc(1); }, [](void* memory) { std::free(memory); }) &&
      is_counted([] { return ::operator new(1); }, [](void* memory) { ::operator delete(memory); });
  return available;
}

std::uint64_t heap_allocations_of_this_thread() noexcept { return allocations_so_far(); }

std::uint64_t heap_allocations_of_the_process() noexcept { return allocations_of_all.load(std::memory_order_relaxed); }

failing_heap::failing_heap(std::uint64_t nth, heap_failure mode) noexcept {
  here.mode = mode;
  here.failed = false;
  here.fail_at = here.allocations + nth;
}

failing_heap::~failing_heap() { here.fail_at = 0; }

// NOLINTNEXTLINE(readability-convert-member-functions-to-static): asks for an object to be alive
bool failing_heap::failed() const noexcept { return here.failed; }

}  // namespace slabbuf::support

#ifndef SLABBUF_SANITIZED

#include <dlfcn.h>
#include <malloc.h>

// The C library's own names: for the calls that arrive while the next malloc is being looked up.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

struct next_heap {
  void* (*malloc)(std::size_t) = &__libc_malloc;
  void* (*calloc)(std::size_t, std::size_t) = &__libc_calloc;
  void* (*realloc)(void*, std::size_t) = &__libc_realloc;
  void* (*memalign)(std::size_t, std::size_t) = &__libc_memalign;
};
constinit next_heap next{};
constinit std::atomic<bool> looked_up{false};

template <class Function>
void look_up(Function& into, const char* name) {
  if (void* const found = ::dlsym(RTLD_NEXT, name)) into = reinterpret_cast<Function>(found);
}

// By name and not always __libc_malloc: tools that watch the heap replace the public functions.
const next_heap& next_one() {
  // The first allocation of a program happens before it has a second thread.
  if (!looked_up.exchange(true, std::memory_order_relaxed)) {
    next_heap found;
    look_up(found.malloc, "malloc");
    look_up(found.calloc, "calloc");
    look_up(found.realloc, "realloc");
    look_up(found.memalign, "memalign");
    next = found;
  }
  return next;
}

// Counts one allocation; false when it is one that must fail.
bool may_allocate() {
  auto& here = slabbuf::support::here;
  slabbuf::support::allocations_of_all.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t current = ++here.allocations;
  if (here.fail_at == 0 || current < here.fail_at) return true;
  if (current > here.fail_at && here.mode == slabbuf::support::heap_failure::once) return true;
  here.failed = true;
  errno = ENOMEM;
  return false;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) noexcept { return may_allocate() ? next_one().malloc(size) : nullptr; }

void* calloc(std::size_t count, std::size_t size) noexcept {
  return may_allocate() ? next_one().calloc(count, size) : nullptr;
}

void* realloc(void* memory, std::size_t size) noexcept {
  return may_allocate() ? next_one().realloc(memory, size) : nullptr;
}

void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return may_allocate() ? next_one().memalign(alignment, size) : nullptr;
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  void* const found = memalign(alignment, size);
  if (found == nullptr) return ENOMEM;
  *memory = found;
  return 0;
}

}  // extern "C"

#endif
