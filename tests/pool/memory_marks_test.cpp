// SPDX-License-Identifier: MIT
// What AddressSanitizer and memcheck say of a returned block. The same tests run without them, where
// marks must do nothing.
#include <slabbuf/pool/detail/memory_marks.hpp>

#include "support/both_pools.hpp"
#include "support/sanitizers.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <initializer_list>
#include <utility>

#if defined(SLABBUF_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif

namespace slabbuf::detail {
namespace {

// Whether whoever watches would complain about a read of this byte. Nobody watches: false.
bool is_unreadable([[maybe_unused]] const std::byte* at) {
#if defined(SLABBUF_ADDRESS_SANITIZER)
  return __asan_address_is_poisoned(at) != 0;
#elif __has_include(<valgrind/memcheck.h>)
  // 3: an address in the range is not addressable. 0 also where memcheck does not run.
  std::byte bits{};
  return VALGRIND_GET_VBITS(at, &bits, 1) == 3;
#else
  return false;
#endif
}

// Addresses with nothing mapped are for AddressSanitizer as good as any; memcheck knows better.
#if defined(SLABBUF_ADDRESS_SANITIZER)
constexpr bool unmapped_is_unreadable = false;
#else
constexpr bool unmapped_is_unreadable = true;
#endif

TEST(memory_marks_test, AMarkHoldsUntilTheNext) {
  alignas(8) std::byte bytes[64]{};
  mark_unreadable(bytes, sizeof bytes);
  EXPECT_EQ(is_unreadable(bytes), memory_is_watched());
  EXPECT_EQ(is_unreadable(bytes + 63), memory_is_watched());
  mark_readable(bytes, sizeof bytes, true);
  EXPECT_FALSE(is_unreadable(bytes));
  EXPECT_FALSE(is_unreadable(bytes + 63));
}

template <class Pool>
class memory_marks_of_a_pool_test : public ::testing::Test {};
TYPED_TEST_SUITE(memory_marks_of_a_pool_test, support::both_pools, support::pool_name);

TYPED_TEST(memory_marks_of_a_pool_test, AReturnedBlockIsUnreadableUntilItIsTakenAgain) {
  for (const hardening level : {hardening::off, hardening::cheap, hardening::full}) {
    for (const std::size_t size : std::initializer_list<std::size_t>{8, 100, 4096, (std::size_t{1} << 20) + 1}) {
      pool_options options;
      options.harden = level;
      TypeParam pool(options);
      const std::byte* block = nullptr;
      std::size_t capacity = 0;
      {
        const buffer held = pool.acquire(size);
        block = held.data();
        capacity = held.capacity();
        EXPECT_FALSE(is_unreadable(block));
        EXPECT_FALSE(is_unreadable(block + capacity - 1)) << "resize() reaches all of it";
      }
      // A hardened pool keeps no oversize buffer: its addresses are the system's again.
      const bool gone = level != hardening::off && size > pool.size_classes().largest();
      const bool unreadable = memory_is_watched() && (!gone || unmapped_is_unreadable);
      EXPECT_EQ(is_unreadable(block), unreadable);
      EXPECT_EQ(is_unreadable(block + capacity - 1), unreadable);
      const raw_buffer raw = pool.get_buffer(size);
      EXPECT_FALSE(is_unreadable(raw.data));
      pool.put_buffer(raw);
    }
  }
}

// Not with memcheck, which knows that nothing is mapped there any more.
#if defined(SLABBUF_ADDRESS_SANITIZER)
TYPED_TEST(memory_marks_of_a_pool_test, AddressesThatGoBackToTheSystemAreReadable) {
  const std::byte* block = nullptr;
  {
    TypeParam pool;
    const buffer held = pool.acquire(4096);
    block = held.data();
  }
  EXPECT_FALSE(is_unreadable(block)) << "whoever maps it next knows nothing of the pool";
}

TYPED_TEST(memory_marks_of_a_pool_test, TheSanitizerStopsAReadOfAReturnedBlockDeath) {
  TypeParam pool;
  const std::byte* block = nullptr;
  {
    const buffer held = pool.acquire(4096);
    block = held.data();
  }
  EXPECT_DEATH(static_cast<void>(*static_cast<const volatile std::byte*>(block)), "use-after-poison");
}
#endif

}  // namespace
}  // namespace slabbuf::detail
