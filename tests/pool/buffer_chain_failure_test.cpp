// SPDX-License-Identifier: MIT
// A chain that gets no memory, from the budget or the heap: it throws, nothing has changed and nothing is lost.
#include <slabbuf/pool/buffer_chain.hpp>

#include "support/both_pools.hpp"
#include "support/chain_expectations.hpp"
#include "support/counting_allocator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::buffer_of;
using support::bytes;
using support::expect_shows;
using support::fill;
using support::text_of;
using support::with_budget;

template <class Pool>
class buffer_chain_failure_test : public ::testing::Test {};
TYPED_TEST_SUITE(buffer_chain_failure_test, support::both_pools, support::pool_name);

// The states a failure is tried on: inside, outside, with spare blocks, split in the middle.
template <class Pool>
buffer_chain several(Pool& pool, std::size_t piece_count) {
  buffer_chain made;
  for (std::size_t index = 0; index < piece_count; ++index) made.append(buffer_of(pool, "abc"));
  return made;
}

// Every action with no budget left for it: it throws, and the chain is what it was.
TYPED_TEST(buffer_chain_failure_test, WhenTheBudgetSaysNoNothingHasChanged) {
  pool_options options = with_budget(64 << 10);
  options.size_classes = {4, 16, 4096, 16384};
  TypeParam pool(options);
  const std::function<void(buffer_chain&)> actions[] = {
      [](buffer_chain& of) { of.coalesce(); }, [](buffer_chain& of) { of.coalesce(5); },
      [&](buffer_chain& of) { of.append_copy(pool, bytes(std::string(30'000, 'x'))); },
      [&](buffer_chain& of) { of.prepare(pool, 30'000); }, [&](buffer_chain& of) { of.prepare(pool, SIZE_MAX / 2); }};
  for (const std::size_t piece_count : std::initializer_list<std::size_t>{2, 4, 5, 100}) {
    buffer_chain tested = several(pool, piece_count);
    const std::string expected = text_of(tested);
    std::vector<buffer> rest;
    while (buffer one = pool.try_acquire(16384)) rest.push_back(std::move(one));
    while (buffer one = pool.try_acquire(4)) rest.push_back(std::move(one));
    const pool_stats before = pool.stats();
    for (const auto& action : actions) {
      EXPECT_THROW(action(tested), budget_exceeded);
      expect_shows(tested, expected);
      EXPECT_EQ(tested.block_count(), piece_count);
      EXPECT_EQ(tested.prepared_bytes(), 0U);
      EXPECT_EQ(pool.stats().in_use, before.in_use);
    }
    // The same when a part of it could be had.
    rest.front().release();
    for (const auto& action : {actions[2], actions[3], actions[4]}) {
      EXPECT_THROW(action(tested), budget_exceeded);
      expect_shows(tested, expected);
      EXPECT_EQ(pool.stats().in_use, before.in_use - 1) << "what could be had went back";
    }
    EXPECT_THROW(tested.prepare(pool, SIZE_MAX), acquire_failed) << "of no pool: without taking all blocks first";
    expect_shows(tested, expected);
    // What was prepared stays so when more is not to be had.
    rest.resize(rest.size() - std::min<std::size_t>(rest.size(), 8));
    tested.prepare(pool, 3);
    EXPECT_THROW(tested.prepare(pool, SIZE_MAX / 2), budget_exceeded);
    fill(tested.prepared(), "xyz");
    tested.commit(3);
    expect_shows(tested, expected + "xyz");
  }
  EXPECT_TRUE(pool.check_invariants());
}

// Every allocation of every action fails once, with a budget that leaves no block for the array of pieces.
TYPED_TEST(buffer_chain_failure_test, WhenTheHeapSaysNoNothingHasChangedOrIsLost) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is somebody else's";
  using action = std::function<void(TypeParam&, buffer_chain&, buffer&, shared_slice&, buffer_chain&)>;
  const std::pair<action, std::string> actions[] = {
      {[](auto&, auto& of, auto& one, auto&, auto&) { of.append(std::move(one)); }, "append buffer"},
      {[](auto&, auto& of, auto& one, auto&, auto&) { of.prepend(std::move(one)); }, "prepend buffer"},
      {[](auto&, auto& of, auto&, auto& slice, auto&) { of.append(std::move(slice)); }, "append slice"},
      {[](auto&, auto& of, auto&, auto& slice, auto&) { of.prepend(std::move(slice)); }, "prepend slice"},
      {[](auto&, auto& of, auto&, auto&, auto& chain) { of.append(std::move(chain)); }, "append chain"},
      {[](auto&, auto& of, auto&, auto&, auto& chain) { of.prepend(std::move(chain)); }, "prepend chain"},
      {[](auto&, auto& of, auto&, auto&, auto&) { static_cast<void>(of.split(of.size() - 1)); }, "split"},
      {[](auto&, auto& of, auto&, auto&, auto&) { static_cast<void>(of.share(1, of.size() - 2)); }, "share"},
      {[](auto& pool, auto& of, auto&, auto&, auto&) { of.append_copy(pool, bytes("0123456789")); }, "append_copy"}};
  for (const auto& [act, name] : actions) {
    for (const std::size_t piece_count : std::initializer_list<std::size_t>{1, 4, 8, 20}) {
      SCOPED_TRACE(name + " at " + std::to_string(piece_count));
      bool failed = true;
      for (std::uint64_t nth = 1; failed; ++nth) {
        ASSERT_LT(nth, 20U);
        pool_options options;
        options.size_classes = {4, 64};  // no class has room for an array
        TypeParam pool(options);
        buffer_chain tested = several(pool, piece_count);
        buffer one = buffer_of(pool, "xyz");
        shared_slice slice(buffer_of(pool, "xyz"));
        buffer_chain chain = several(pool, 6);
        const std::string expected = text_of(tested);
        const std::uint64_t in_use_before = pool.stats().in_use;
        bool threw = false;
        {
          const support::failing_heap failing(nth, support::heap_failure::once);
          try {
            act(pool, tested, one, slice, chain);
          } catch (const std::bad_alloc&) {
            threw = true;
          }
          failed = failing.failed();
        }
        if (threw) {
          EXPECT_TRUE(failed);
          expect_shows(tested, expected);
          EXPECT_EQ(tested.block_count(), piece_count);
          EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(std::as_const(one).data()), one.size()), "xyz");
          EXPECT_EQ(slice.size(), 3U);
          expect_shows(chain, text_of(several(pool, 6)));
          EXPECT_EQ(pool.stats().in_use, in_use_before);
        }
        tested.clear();
        chain.clear();
        one.release();
        slice.release();
        EXPECT_EQ(pool.stats().in_use, 0U);
        EXPECT_TRUE(pool.check_invariants());
      }
    }
  }
}

}  // namespace
}  // namespace slabbuf
