// SPDX-License-Identifier: MIT
// Each misuse that a hardened pool finds is committed in a child process, which must die with its name;
// and a program without misuse must not notice the checks at any level.
#include <slabbuf/pool/detail/block_checks.hpp>

#include "support/both_pools.hpp"
#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <slabbuf/pool/detail/memory_marks.hpp>
#include <slabbuf/pool/pmr_resource.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace slabbuf::detail {
namespace {

pool_options hardened(hardening level, zeroing zero = zeroing::dirty_extent) {
  pool_options options;
  options.harden = level;
  options.zero = zero;
  return options;
}

// Writes past every view, as a misbehaving program would. A volatile store, because a compiler may leave
// out what nobody is allowed to see; a store that AddressSanitizer does not look at, because it would
// find the misuse first.
__attribute__((no_sanitize("address"))) void scribble(const std::byte* at) {
  *const_cast<volatile std::byte*>(at) = std::byte{0x5a};
}

template <class Pool>
class block_checks_death_test : public ::testing::Test {};
TYPED_TEST_SUITE(block_checks_death_test, support::both_pools, support::pool_name);

TYPED_TEST(block_checks_death_test, ReportsMemoryOfAContainerPutTwice) {
  for (const hardening level : {hardening::cheap, hardening::full}) {
    TypeParam pool(hardened(level));
    pmr_resource memory(pool);
    void* const block = memory.allocate(100);
    EXPECT_DEATH(
        {
          memory.deallocate(block, 100);
          memory.deallocate(block, 100);
        },
        "slabbuf: double_put: address 0x.*class 128");
    memory.deallocate(block, 100);
  }
}

TYPED_TEST(block_checks_death_test, ReportsAnAddressInsideAContainersMemory) {
  TypeParam pool(hardened(hardening::cheap));
  pmr_resource memory(pool);
  auto* const block = static_cast<std::byte*>(memory.allocate(100));
  EXPECT_DEATH(memory.deallocate(block + 8, 50), "slabbuf: not_a_block");
  memory.deallocate(block, 100);
}

TYPED_TEST(block_checks_death_test, ReportsBytesWrittenBehindTheOnesHandedOutForWriting) {
  for (const hardening level : {hardening::cheap, hardening::full}) {
    for (const zeroing zero : {zeroing::dirty_extent, zeroing::none}) {
      TypeParam pool(hardened(level, zero));
      buffer held = pool.acquire(1000);
      held.writable(10);
      EXPECT_DEATH(
          {
            scribble(std::as_const(held).data() + 1001);
            held.release();
          },
          "slabbuf: overrun: .*class 1024");
    }
  }
}

// A size that is not known when the program is compiled, and shorter than what is cleared at a time.
TYPED_TEST(block_checks_death_test, ReportsBytesWrittenCloseBehindShortMessages) {
  for (const hardening level : {hardening::cheap, hardening::full}) {
    TypeParam pool(hardened(level));
    for (const std::size_t written : std::initializer_list<std::size_t>{1, 10, 63}) {
      buffer held = pool.acquire(1000);
      held.writable(written);
      EXPECT_DEATH(
          {
            scribble(std::as_const(held).data() + written);
            held.release();
          },
          "slabbuf: overrun");
    }
  }
}

TYPED_TEST(block_checks_death_test, ReportsBytesWrittenInTheMiddleWhenAllAreChecked) {
  TypeParam pool(hardened(hardening::full));
  buffer held = pool.acquire(4096);
  held.writable(10);
  EXPECT_DEATH(
      {
        scribble(std::as_const(held).data() + 2000);
        held.release();
      },
      "slabbuf: overrun");
}

TYPED_TEST(block_checks_death_test, ReportsBytesWrittenBehindABlock) {
  for (const std::size_t size : std::initializer_list<std::size_t>{2, 64, 1000, 4096, std::size_t{1} << 20}) {
    TypeParam pool(hardened(hardening::full));
    buffer held = pool.acquire(size);
    EXPECT_DEATH(
        {
          scribble(held.data() + held.capacity());
          held.release();
        },
        "slabbuf: overrun");
  }
}

TYPED_TEST(block_checks_death_test, ReportsAWriteToAFreeBlockWhenItIsHandedOut) {
  for (const hardening level : {hardening::cheap, hardening::full}) {
    TypeParam pool(hardened(level));
    const std::byte* stale = nullptr;
    {
      const buffer held = pool.acquire(256);
      stale = held.data();
    }
    EXPECT_DEATH(
        {
          scribble(stale + 3);
          std::vector<buffer> next;
          for (int count = 0; count < 1000; ++count) next.push_back(pool.acquire(256));
        },
        "slabbuf: use_after_return: .*size 256, class 256");
  }
}

// So that a write through a kept pointer has time to be seen.
TYPED_TEST(block_checks_death_test, HandsOutTheBlockThatWasFreeTheLongest) {
  TypeParam pool(hardened(hardening::full));
  std::vector<buffer> held;
  for (int count = 0; count < 8; ++count) held.push_back(pool.acquire(256));
  held.clear();
  const std::byte* last = nullptr;
  {
    const buffer one = pool.acquire(256);
    last = one.data();
  }
  EXPECT_NE(std::as_const(held.emplace_back(pool.acquire(256))).data(), last);
}

// Nothing goes back to the fast path behind the checks' back, and nothing is taken for misuse that is none.
TYPED_TEST(block_checks_death_test, IsSilentInACorrectProgram) {
  for (const hardening level : {hardening::off, hardening::cheap, hardening::full}) {
    for (const zeroing zero : {zeroing::dirty_extent, zeroing::whole_block, zeroing::none}) {
      TypeParam pool(hardened(level, zero));
      pmr_resource memory(pool);
      support::seeded_random random(7);
      std::vector<buffer> held;
      std::vector<raw_buffer> raw;
      std::vector<std::pair<void*, std::size_t>> allocated;
      for (int round = 0; round < 20'000; ++round) {
        const std::size_t size = random.one_in(50) ? random.between(1, 3 << 20) : random.between(0, 10'000);
        switch (random.between(0, 6)) {
          case 0: {
            buffer& made = held.emplace_back(pool.acquire(size));
            if (level != hardening::off || zero != zeroing::none) {
              const std::span<const std::byte> all(std::as_const(made).data(), made.capacity());
              ASSERT_TRUE(support::is_zero(all));
            }
            break;
          }
          case 1: raw.push_back(pool.get_buffer(size)); break;
          case 2: allocated.emplace_back(memory.allocate(size + 1), size + 1); break;
          case 3: {
            if (held.empty()) break;
            buffer& any = held[random.between(0, held.size() - 1)];
            const std::span<std::byte> bytes = any.writable(random.between(0, any.size()));
            std::memset(bytes.data(), 0xff, bytes.size());
            break;
          }
          case 4:
            if (!held.empty())
              held.erase(held.begin() + static_cast<std::ptrdiff_t>(random.between(0, held.size() - 1)));
            break;
          case 5: {
            if (raw.empty()) break;
            std::memset(raw.back().data, 0xee, raw.back().class_size);
            pool.put_buffer(raw.back());
            raw.pop_back();
            break;
          }
          case 6: {
            if (allocated.empty()) break;
            std::memset(allocated.back().first, 0xdd, allocated.back().second);
            memory.deallocate(allocated.back().first, allocated.back().second);
            allocated.pop_back();
            break;
          }
          default: break;
        }
        if (random.one_in(1000)) pool.trim();
        if (held.size() + raw.size() + allocated.size() > 200) held.clear();
      }
      held.clear();
      for (const raw_buffer& each : raw) pool.put_buffer(each);
      for (const auto& [block, size] : allocated) memory.deallocate(block, size);
      EXPECT_EQ(pool.stats().in_use, 0U);
      EXPECT_GT(pool.stats().hits, 0U);
      EXPECT_TRUE(pool.check_invariants());
    }
  }
}

// Their pages go back to the system: what nobody looks at is not handed on either.
TYPED_TEST(block_checks_death_test, KeepsNoOversizeBuffers) {
  for (const hardening level : {hardening::cheap, hardening::full}) {
    TypeParam pool(hardened(level));
    pool.acquire(std::size_t{3} << 19).release();
    EXPECT_EQ(pool.stats().cached, 0U);
    EXPECT_EQ(pool.stats().bytes, 0U);
  }
}

TEST(block_checks_test, CanariesTakeRoomBehindEachBlockAndNotInIt) {
  const slab_geometry plain = slab_geometry::of(4096);
  const slab_geometry full = slab_geometry::of(4096, hardening::full);
  EXPECT_EQ(plain.canary_bytes, 0U);
  EXPECT_GT(full.canary_bytes, 0U);
  EXPECT_GE(full.stride, 4096 + full.canary_bytes);
  EXPECT_EQ(full.stride % 4096, 0U) << "blocks stay aligned";
  EXPECT_EQ(slab_geometry::of(4096, hardening::cheap).stride, plain.stride);
}

}  // namespace
}  // namespace slabbuf::detail
