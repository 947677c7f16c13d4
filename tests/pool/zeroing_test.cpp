// SPDX-License-Identifier: MIT
// The promise of each policy, as a property: whatever earlier holders did, by whatever way there is
// to write, every byte of a fresh buffer is zero. And that the test would notice: without clearing,
// and beyond the extent, old bytes do come back.
#include <slabbuf/pool/zeroing.hpp>

#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include "support/both_pools.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::is_zero;
using support::seeded_random;
using support::with_zeroing;

// Index of the first byte that is not zero; the size when all are.
std::size_t first_written(std::span<const std::byte> memory) {
  const auto found = std::find_if(memory.begin(), memory.end(), [](std::byte each) { return each != std::byte{0}; });
  return static_cast<std::size_t>(found - memory.begin());
}

void fill(std::span<std::byte> memory) { std::memset(memory.data(), 0xa5, memory.size()); }

// One of the ways a holder writes, over a random part.
void write(buffer& held, seeded_random& random) {
  switch (random.between(0, 4)) {
    case 0: fill({held.data(), held.size()}); break;
    case 1: fill(held.writable(random.between(0, held.size()))); break;
    case 2: {
      const std::size_t count = random.between(0, held.capacity());
      fill(held.prepare().first(count));
      held.commit(count);
      break;
    }
    case 3: {  // a single byte at the end of what is marked
      const std::span<std::byte> part = held.writable(random.between(0, held.size()));
      if (!part.empty()) part.back() = std::byte{1};
      break;
    }
    default: held.resize(random.between(0, held.capacity()));
  }
}

template <class Pool>
class zeroing_test : public ::testing::Test {
 protected:
  // Random holders of random sizes; returns how many fresh buffers had a byte that was not zero.
  static std::uint64_t count_dirty_buffers(const pool_options& options, std::uint64_t seed) {
    seeded_random random(seed);
    Pool pool(options);
    std::vector<buffer> held;
    std::vector<raw_buffer> held_raw;
    std::uint64_t dirty_count = 0;
    for (int step = 0; step < 4000; ++step) {
      const std::size_t size = random.magnitude(random.one_in(20) ? 22 : 16);
      switch (random.between(0, 7)) {
        case 0:
        case 1:
        case 2: {
          buffer got = pool.acquire(size);
          dirty_count += is_zero(got.prepare()) ? 0U : 1U;
          for (std::size_t writes = random.between(0, 3); writes > 0; --writes) write(got, random);
          held.push_back(std::move(got));
          break;
        }
        case 3: {
          const raw_buffer got = pool.get_buffer(size);
          const std::span<std::byte> all(got.data, got.class_size);
          dirty_count += is_zero(all) ? 0U : 1U;
          fill(all.first(random.between(0, all.size())));
          held_raw.push_back(got);
          break;
        }
        case 4:
          if (held_raw.empty()) break;
          std::swap(held_raw[random.between(0, held_raw.size() - 1)], held_raw.back());
          pool.put_buffer(held_raw.back().data, random.between(0, held_raw.back().class_size));
          held_raw.pop_back();
          break;
        case 5:
          if (random.one_in(30)) pool.trim();
          if (random.one_in(100)) held.clear();
          break;
        default:
          if (held.empty()) break;
          std::swap(held[random.between(0, held.size() - 1)], held.back());
          if (random.one_in(3)) write(held.back(), random);
          held.pop_back();
      }
    }
    for (const raw_buffer& each : held_raw) pool.put_buffer(each);
    held.clear();
    EXPECT_TRUE(pool.check_invariants());
    return dirty_count;
  }

  // Tables of which the last has classes that share buckets, units and slabs in odd ways.
  static std::array<size_class_table, 3> tables() { return {{{}, {1024, 4096}, {3, 7, 100, 255, 256, 1000, 17408}}}; }
};
TYPED_TEST_SUITE(zeroing_test, support::both_pools, support::pool_name);

TYPED_TEST(zeroing_test, EveryByteOfAFreshBufferIsZero) {
  for (const zeroing policy : {zeroing::whole_block, zeroing::dirty_extent}) {
    for (const std::size_t cache_bytes_max :
         std::initializer_list<std::size_t>{std::size_t{0}, std::size_t{20000}, std::size_t{2} << 20}) {
      std::uint64_t seed = 306;
      for (const size_class_table& table : this->tables()) {
        pool_options options = with_zeroing(policy);
        options.size_classes = table;
        options.cache_bytes_max = cache_bytes_max;
        EXPECT_EQ(this->count_dirty_buffers(options, ++seed), 0U)
            << (policy == zeroing::whole_block ? "whole_block" : "dirty_extent") << ", cache " << cache_bytes_max;
      }
    }
  }
}

TYPED_TEST(zeroing_test, WithoutClearingTheSamePropertyFails) {
  EXPECT_GT(this->count_dirty_buffers(with_zeroing(zeroing::none), 307), 0U);
}

TYPED_TEST(zeroing_test, NoneShowsWhatTheLastHolderWrote) {
  TypeParam pool(with_zeroing(zeroing::none));
  buffer first = pool.acquire(5000);
  const std::byte* const address = std::as_const(first).data();
  first.data()[4999] = std::byte{42};
  first.release();
  const buffer again = pool.acquire(5000);
  ASSERT_EQ(again.data(), address);
  EXPECT_EQ(again.data()[4999], std::byte{42});
}

// Keys and decrypted bytes, by whatever way they leave, do not lie about in a pool that clears nothing.
TYPED_TEST(zeroing_test, NoneClearsWhatItsOwnerWantsCleared) {
  TypeParam pool(with_zeroing(zeroing::none));
  const std::byte* address = nullptr;
  const auto fill_secret = [&](std::size_t size) {
    buffer secret = pool.acquire(size);
    address = std::as_const(secret).data();
    fill({secret.data(), secret.size()});
    secret.clear_on_release();
    return secret;
  };
  const auto expect_cleared = [&](const char* way, std::size_t size) {
    buffer again = pool.acquire(size);
    EXPECT_EQ(std::as_const(again).data(), address) << way;
    EXPECT_TRUE(is_zero(again.prepare().first(size))) << way;
  };
  fill_secret(5000).release();
  expect_cleared("released", 5000);
  { const buffer moved = fill_secret(5000); }
  expect_cleared("moved, and dead", 5000);
  {
    buffer secret = fill_secret(5000);
    const shared_slice slice = secret.share(10, 20);
    secret.release();
  }
  expect_cleared("shared, and the buffer first", 5000);
  {
    buffer secret = fill_secret(5000);
    { const shared_slice slice = secret.share(); }
  }
  expect_cleared("shared, and the slice first", 5000);
  {
    buffer_chain chain;
    chain.append(fill_secret(5000));
    const buffer_chain front = chain.split(100);
    chain.clear();
  }
  expect_cleared("in two chains", 5000);
  // Copies are as secret as what they are of, in place of it or not.
  for (const std::size_t room : {std::size_t{10'000}, std::size_t{100}}) {
    buffer_chain chain;
    buffer harmless = pool.acquire(room);
    harmless.resize(100);
    chain.append(std::move(harmless));
    chain.append(fill_secret(5000));
    const std::byte* const copy = chain.coalesce(5100).data();
    chain.clear();
    address = copy;
    expect_cleared("coalesced", room == 100 ? 5100 : room);
  }
  {
    shared_slice original(fill_secret(5000));
    const shared_slice copy = original.clone();
    address = copy.data();
    original = {};
  }
  expect_cleared("cloned", 5000);
  fill_secret(std::size_t{3} << 20).release();  // larger than any class
  buffer{}.clear_on_release();
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

// Memory that other classes used before is not cleared either.
TYPED_TEST(zeroing_test, NoneClearsNothingWhenMemoryChangesItsClass) {
  pool_options options = with_zeroing(zeroing::none);
  options.cache_bytes_max = 0;
  options.size_classes = {64, 1024, std::size_t{1} << 20};
  for (const std::size_t size : std::initializer_list<std::size_t>{std::size_t{64}, std::size_t{1024}}) {
    TypeParam pool(options);
    {
      buffer one = pool.acquire(std::size_t{1} << 20);
      buffer two = pool.acquire(std::size_t{1} << 20);
      fill({one.data(), one.size()});
      fill({two.data(), two.size()});
    }
    const buffer again = pool.acquire(size);  // over the memory of the slab that was retired
    EXPECT_EQ(again.data()[0], std::byte{0xa5}) << size;
  }
}

TYPED_TEST(zeroing_test, WholeBlockClearsWhatNobodyMarked) {
  TypeParam pool(with_zeroing(zeroing::whole_block));
  buffer first = pool.acquire(100000);
  auto* const address = const_cast<std::byte*>(std::as_const(first).data());
  address[first.capacity() - 1] = std::byte{42};
  first.release();
  buffer again = pool.acquire(100000);
  ASSERT_EQ(std::as_const(again).data(), address);
  EXPECT_TRUE(is_zero(again.prepare()));
}

// The extent is what marks it, not the block: a byte written behind the pool's back, past what was
// marked, stays.
TYPED_TEST(zeroing_test, DirtyExtentClearsWhatWasMarkedAndNothingElse) {
  constexpr std::size_t size = std::size_t{1} << 20;
  constexpr std::size_t marked = 1000;
  constexpr std::size_t extent = marked;
  TypeParam pool;
  buffer first = pool.acquire(size);
  auto* const address = const_cast<std::byte*>(std::as_const(first).data());
  fill(first.writable(marked));
  address[extent - 1] = address[extent] = address[size - 1] = std::byte{42};
  first.release();

  buffer again = pool.acquire(size);
  ASSERT_EQ(std::as_const(again).data(), address);
  EXPECT_EQ(first_written(again.prepare()), extent);
  EXPECT_EQ(address[size - 1], std::byte{42});
  address[extent] = address[size - 1] = std::byte{0};
}

// Each way of writing marks so much, seen by what is cleared of a block filled behind the pool's back.
TYPED_TEST(zeroing_test, EveryViewMarksWhatItHandsOut) {
  constexpr std::size_t size = 4096;
  TypeParam pool;
  const auto cleared_after = [&](auto use) {
    buffer first = pool.acquire(size);
    auto* const address = const_cast<std::byte*>(std::as_const(first).data());
    use(first);
    std::memset(address, 0xa5, size);
    first.release();
    buffer again = pool.acquire(size);
    EXPECT_EQ(std::as_const(again).data(), address);
    const std::span<const std::byte> all = again.prepare();
    const auto end = std::find(all.begin(), all.end(), std::byte{0xa5});
    fill(again.writable(size));  // whatever was left is marked for the next round
    return static_cast<std::size_t>(end - all.begin());
  };
  EXPECT_EQ(cleared_after([](buffer&) {}), 0U);
  EXPECT_EQ(cleared_after([](buffer& held) { static_cast<void>(std::as_const(held).data()); }), 0U);
  EXPECT_EQ(cleared_after([](buffer& held) { static_cast<void>(held.prepare()); }), size) << "never committed";
  EXPECT_EQ(cleared_after([](buffer& held) {
              static_cast<void>(held.prepare());
              held.commit(100);
            }),
            100U);
  EXPECT_EQ(cleared_after([](buffer& held) {
              held.commit(100);
              static_cast<void>(held.prepare());
              held.commit(3);
            }),
            100U)
      << "what was marked before stays marked";
  EXPECT_EQ(cleared_after([](buffer& held) { held.resize(10); }), 0U);
  EXPECT_EQ(cleared_after([](buffer& held) { static_cast<void>(held.data()); }), size);
  EXPECT_EQ(cleared_after([](buffer& held) { static_cast<void>(held.writable(640)); }), 640U);
  EXPECT_EQ(cleared_after([](buffer& held) { held.commit(128); }), 128U);
  EXPECT_EQ(cleared_after([](buffer& held) {
              held.commit(256);
              held.commit(64);
            }),
            256U)
      << "a smaller mark does not undo a larger one";
  EXPECT_EQ(cleared_after([](buffer& held) {
              held.resize(64);
              static_cast<void>(held.data());
              held.resize(size);
            }),
            size)
      << "data() was asked for all there was: what is added goes with it";
  EXPECT_EQ(cleared_after([](buffer& held) {
              static_cast<void>(held.writable(64));
              held.resize(size);
            }),
            64U);
  EXPECT_EQ(cleared_after([](buffer& held) {
              static_cast<void>(held.writable(320));
              held = buffer(std::move(held));
            }),
            320U)
      << "the mark moves with the buffer";
}

TYPED_TEST(zeroing_test, RawBlocksCountAsWrittenWhole) {
  TypeParam pool;
  const raw_buffer raw = pool.get_buffer(100000);
  std::memset(raw.data, 0xa5, raw.class_size);
  pool.put_buffer(raw.data, 1);
  buffer again = pool.acquire(100000);
  ASSERT_EQ(std::as_const(again).data(), raw.data);
  EXPECT_TRUE(is_zero(again.prepare()));
}

// Extents of every size there is.
TYPED_TEST(zeroing_test, HoldsForLargeBlocks) {
  constexpr std::size_t size = std::size_t{8} << 20;
  for (const zeroing policy : {zeroing::whole_block, zeroing::dirty_extent}) {
    pool_options options = with_zeroing(policy);
    options.size_classes = {size};
    options.cache_bytes_max = 2 * size;
    TypeParam pool(options);
    for (const std::size_t marked :
         std::initializer_list<std::size_t>{(std::size_t{4} << 20) - 128, (std::size_t{4} << 20) - 127, size}) {
      buffer held = pool.acquire(size);
      ASSERT_TRUE(is_zero(held.prepare())) << marked;
      fill(held.writable(marked));
    }
    EXPECT_TRUE(is_zero(pool.acquire(size).prepare()));
  }
}

}  // namespace
}  // namespace slabbuf
