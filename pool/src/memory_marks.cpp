// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/memory_marks.hpp>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define SLABBUF_HAS_MEMCHECK 1
#else
#define SLABBUF_HAS_MEMCHECK 0
#endif

// There when the program is linked with AddressSanitizer, else null.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the names are the sanitizer's.
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* begin, std::size_t bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* begin, std::size_t bytes);
// NOLINTEND(bugprone-reserved-identifier)
}

namespace slabbuf::detail {
namespace {

// Other tools of Valgrind do not answer what is asked of memcheck, and need no marks.
bool runs_under_memcheck() noexcept {
#if SLABBUF_HAS_MEMCHECK
  const char probe = 0;
  return VALGRIND_MAKE_MEM_DEFINED(&probe, sizeof probe) != 0;
#else
  return false;
#endif
}

bool has_address_sanitizer() noexcept { return __asan_poison_memory_region != nullptr; }

}  // namespace

bool memory_is_watched() noexcept {
  static const bool watched = has_address_sanitizer() || runs_under_memcheck();
  return watched;
}

void mark_unreadable(const void* begin, std::size_t bytes) noexcept {
  if (!memory_is_watched()) return;
  if (has_address_sanitizer()) __asan_poison_memory_region(begin, bytes);
#if SLABBUF_HAS_MEMCHECK
  static_cast<void>(VALGRIND_MAKE_MEM_NOACCESS(begin, bytes));
#endif
}

void mark_readable(const void* begin, std::size_t bytes, bool defined) noexcept {
  if (!memory_is_watched()) return;
  if (has_address_sanitizer()) __asan_unpoison_memory_region(begin, bytes);
#if SLABBUF_HAS_MEMCHECK
  if (defined) {
    static_cast<void>(VALGRIND_MAKE_MEM_DEFINED(begin, bytes));
  } else {
    static_cast<void>(VALGRIND_MAKE_MEM_UNDEFINED(begin, bytes));
  }
#else
  static_cast<void>(defined);
#endif
}

}  // namespace slabbuf::detail
