// SPDX-License-Identifier: MIT
// A chain against a string: whatever is done to both, they show the same bytes. And who owns the blocks then,
// what is thrown, and that nothing has changed when it was.
#include <slabbuf/pool/buffer_chain.hpp>

#include "support/both_pools.hpp"
#include "support/chain_expectations.hpp"
#include "support/counting_allocator.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::buffer_of;
using support::bytes;
using support::bytes_of;
using support::expect_shows;
using support::fill;
using support::is_zero;
using support::text_of;
using support::with_budget;
using support::with_zeroing;

static_assert(std::is_nothrow_default_constructible_v<buffer_chain>);
static_assert(std::is_nothrow_move_constructible_v<buffer_chain> && std::is_nothrow_move_assignable_v<buffer_chain>);
static_assert(!std::is_copy_constructible_v<buffer_chain> && !std::is_copy_assignable_v<buffer_chain>);
static_assert(sizeof(buffer_chain) <= 192);
static_assert(std::is_trivially_copyable_v<buffer_chain::piece>);
static_assert(std::is_trivially_copyable_v<buffer_chain::const_spans> && sizeof(buffer_chain::const_spans) <= 24);
static_assert(std::is_trivially_copyable_v<buffer_chain::room_spans> && sizeof(buffer_chain::room_spans) <= 24);
static_assert(std::random_access_iterator<buffer_chain::const_spans::iterator>);

template <class Pool>
buffer_chain chain_of(Pool& pool, std::initializer_list<std::string_view> pieces) {
  buffer_chain made;
  for (const std::string_view each : pieces) made.append(buffer_of(pool, each));
  return made;
}

template <class Action>
std::string what_it_says(Action action) {
  try {
    action();
  } catch (const std::out_of_range& fault) {
    return fault.what();
  }
  return "nothing thrown";
}

template <class Pool>
class buffer_chain_test : public ::testing::Test {
 protected:
  ~buffer_chain_test() override {
    EXPECT_EQ(in_use(), 0U);
    EXPECT_TRUE(pool_.check_invariants());
  }
  std::uint64_t in_use() const { return pool_.stats().in_use; }

  Pool pool_;
};
TYPED_TEST_SUITE(buffer_chain_test, support::both_pools, support::pool_name);

TYPED_TEST(buffer_chain_test, IsEmptyAtFirst) {
  buffer_chain tested;
  expect_shows(tested, "");
  EXPECT_EQ(tested.spans().begin(), tested.spans().end());
  EXPECT_TRUE(tested.prepared().empty());
  EXPECT_TRUE(tested.coalesce().empty());
  EXPECT_TRUE(tested.split(0).empty());
  EXPECT_TRUE(tested.share(0, 0).empty());
  tested.consume(0);
  tested.trim(0);
  tested.commit(0);
  tested.copy_out({}, 0);
  tested.clear();
  tested.append(buffer_chain());
  tested.prepend(buffer_chain());
  tested.append(buffer());
  tested.append(shared_slice());
  tested.prepend(buffer());
  tested.prepend(shared_slice());
  tested.append_copy(this->pool_, {});
  EXPECT_TRUE(tested.prepare(this->pool_, 0).empty());
  expect_shows(tested, "");
}

TYPED_TEST(buffer_chain_test, KeepsBuffersAndSlicesInOrder) {
  buffer_chain tested;
  tested.append(buffer_of(this->pool_, "cd"));
  shared_slice slice(buffer_of(this->pool_, "..ef.."));
  tested.append(slice.share(2, 2));
  tested.prepend(slice.share(0, 1));
  tested.prepend(buffer_of(this->pool_, "ab"));
  tested.append(chain_of(this->pool_, {"gh", "ij", "kl"}));
  tested.prepend(chain_of(this->pool_, {"01", "23"}));
  expect_shows(tested, "0123ab.cdefghijkl");
  EXPECT_EQ(tested.block_count(), 9U);
  slice.release();
  expect_shows(tested, "0123ab.cdefghijkl");
}

TYPED_TEST(buffer_chain_test, StartsFromABufferOrASlice) {
  expect_shows(buffer_chain(buffer_of(this->pool_, "abc")), "abc");
  shared_slice slice(buffer_of(this->pool_, "0123"));
  expect_shows(buffer_chain(slice.share(1, 2)), "12");
  expect_shows(buffer_chain(this->pool_.acquire(0)), "");
}

TYPED_TEST(buffer_chain_test, WhatHasNoBytesGoesBackAtOnce) {
  buffer_chain tested = chain_of(this->pool_, {"", "ab", "", "cd", ""});
  EXPECT_EQ(tested.block_count(), 2U);
  buffer empty = this->pool_.acquire(0);
  tested.prepend(std::move(empty));
  EXPECT_FALSE(empty);  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_EQ(this->in_use(), 2U);
  expect_shows(tested, "abcd");
}

TYPED_TEST(buffer_chain_test, ToItselfNothingIsPut) {
  buffer_chain tested = chain_of(this->pool_, {"ab", "cd"});
  buffer_chain& same = tested;
  tested.append(std::move(same));
  tested.prepend(std::move(same));
  tested = std::move(same);
  expect_shows(tested, "abcd");
}

TYPED_TEST(buffer_chain_test, ConsumingGivesBlocksBackAsSoonAsTheyAreEmpty) {
  buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi"});
  tested.consume(2);
  expect_shows(tested, "cdefghi");
  EXPECT_EQ(this->in_use(), 3U);
  tested.consume(1);
  EXPECT_EQ(this->in_use(), 2U);
  tested.consume(4);
  expect_shows(tested, "hi");
  EXPECT_EQ(this->in_use(), 1U);
  tested.consume(2);
  expect_shows(tested, "");
  EXPECT_EQ(this->in_use(), 0U);
}

TYPED_TEST(buffer_chain_test, TrimKeepsTheFront) {
  buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi"});
  tested.trim(9);
  tested.trim(8);
  expect_shows(tested, "abcdefgh");
  tested.trim(3);
  expect_shows(tested, "abc");
  EXPECT_EQ(this->in_use(), 1U);
  tested.trim(0);
  EXPECT_EQ(this->in_use(), 0U);
}

TYPED_TEST(buffer_chain_test, SplitTakesTheFront) {
  for (std::size_t count = 0; count <= 9; ++count) {
    buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi"});
    const buffer_chain front = tested.split(count);
    expect_shows(front, std::string("abcdefghi").substr(0, count));
    expect_shows(tested, std::string("abcdefghi").substr(count));
    EXPECT_EQ(front.block_count() + tested.block_count(), count % 3 == 0 ? 3U : 4U);
    EXPECT_EQ(this->in_use(), 3U) << "no byte was copied";
  }
}

TYPED_TEST(buffer_chain_test, WhatWasSplitJoinsAgainAsOnePiece) {
  buffer_chain tested = chain_of(this->pool_, {"abcdef"});
  buffer_chain front = tested.split(2);
  buffer_chain middle = tested.split(2);
  front.append(std::move(middle));
  EXPECT_EQ(front.block_count(), 1U);
  front.append(std::move(tested));
  expect_shows(front, "abcdef");
  EXPECT_EQ(front.block_count(), 1U);
  EXPECT_TRUE(front.pieces().front().is_alone());
  tested = front.split(3);
  front.append(shared_slice(buffer_of(this->pool_, "x")));
  front.append(std::move(tested));
  EXPECT_EQ(front.block_count(), 3U) << "something came between";
}

TYPED_TEST(buffer_chain_test, ShareLeavesTheBytesWhereTheyAre) {
  buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi"});
  for (std::size_t position = 0; position <= 9; ++position) {
    for (std::size_t count = 0; count <= 9 - position; ++count) {
      const buffer_chain shared = tested.share(position, count);
      expect_shows(shared, std::string("abcdefghi").substr(position, count));
      EXPECT_EQ(this->in_use(), 3U);
    }
  }
  buffer_chain kept = tested.share(4, 1);
  tested.clear();
  expect_shows(kept, "e");
  EXPECT_EQ(this->in_use(), 1U);
}

TYPED_TEST(buffer_chain_test, CoalesceMakesTheFrontContiguous) {
  for (std::size_t count = 0; count <= 12; ++count) {
    buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi", "jkl"});
    const std::span<const std::byte> front = tested.coalesce(count);
    ASSERT_EQ(front.size(), count);
    if (count != 0) {
      EXPECT_EQ(front.data(), tested.pieces().front().data());
    }
    expect_shows(tested, "abcdefghijkl");
    if (count <= 3) {
      EXPECT_EQ(tested.block_count(), 4U) << "nothing to do";
    }
    if (count == 4 || count == 5) {
      EXPECT_EQ(tested.block_count(), 4U);
    }
    if (count == 6) {
      EXPECT_EQ(tested.block_count(), 3U);
    }
    if (count == 12) {
      EXPECT_EQ(tested.block_count(), 1U);
    }
    EXPECT_EQ(this->in_use(), tested.block_count());
  }
}

TYPED_TEST(buffer_chain_test, CoalesceUsesTheRoomOfTheFirstBlock) {
  buffer first = buffer_of(this->pool_, std::string(100, 'a'));
  first.resize(50);
  const std::byte* const data = std::as_const(first).data();
  buffer_chain tested(std::move(first));
  tested.append(buffer_of(this->pool_, std::string(78, 'b')));
  EXPECT_EQ(tested.coalesce(128).data(), data);
  expect_shows(tested, std::string(50, 'a') + std::string(78, 'b'));
  EXPECT_EQ(tested.block_count(), 1U);

  tested.consume(1);
  tested.append(buffer_of(this->pool_, "c"));
  const buffer_chain other = tested.share(0, 1);
  EXPECT_NE(tested.coalesce().data(), data) << "no room, and another owner";
  expect_shows(other, "a");
}

TYPED_TEST(buffer_chain_test, CopiesBytesOut) {
  const buffer_chain tested = chain_of(this->pool_, {"abc", "def", "ghi"});
  for (std::size_t position = 0; position <= 9; ++position) {
    for (std::size_t count = 0; count <= 9 - position; ++count) {
      std::string into(count, '.');
      tested.copy_out(std::as_writable_bytes(std::span(into)), position);
      EXPECT_EQ(into, std::string("abcdefghi").substr(position, count));
    }
  }
}

TYPED_TEST(buffer_chain_test, AppendCopyFillsTheLastBlockFirst) {
  buffer_chain tested;
  tested.append_copy(this->pool_, bytes(std::string(100, 'a')));
  EXPECT_EQ(tested.pinned_bytes(), 128U);
  tested.append_copy(this->pool_, bytes(std::string(28, 'b')));
  EXPECT_EQ(tested.block_count(), 1U);
  tested.append_copy(this->pool_, bytes("c"));
  EXPECT_EQ(tested.block_count(), 2U);
  EXPECT_EQ(tested.pinned_bytes(), 128U + 256U) << "the next block is larger";
  expect_shows(tested, std::string(100, 'a') + std::string(28, 'b') + "c");
}

TYPED_TEST(buffer_chain_test, AppendCopyDoesNotWriteIntoABlockOthersOwn) {
  buffer_chain tested;
  tested.append_copy(this->pool_, bytes("abc"));
  tested.append_copy(this->pool_, bytes("d"));
  EXPECT_EQ(tested.block_count(), 1U);
  tested.consume(1);
  {
    const buffer_chain other = tested.share(0, 1);
    tested.trim(1);
    tested.append_copy(this->pool_, bytes("xy"));
    EXPECT_EQ(tested.block_count(), 2U);
    tested.trim(1);
  }
  tested.append_copy(this->pool_, bytes("zz"));
  EXPECT_EQ(tested.block_count(), 1U) << "alone again";
  expect_shows(tested, "bzz");
}

TYPED_TEST(buffer_chain_test, AppendsCopiesOfItsOwnBytes) {
  buffer_chain tested;
  std::string expected = "abcdefghijklmnopqrstuvwxyz";
  tested.append_copy(this->pool_, bytes(expected));
  for (int round = 0; round < 12; ++round) {
    tested.append_copy(this->pool_, tested.coalesce());
    expected += expected;
    expect_shows(tested, expected);
  }
}

TYPED_TEST(buffer_chain_test, LargeCopiesLieInSeveralBlocks) {
  buffer_chain tested;
  const std::string large(1'000'000, 'x');
  tested.append_copy(this->pool_, bytes(large));
  EXPECT_EQ(tested.block_count(), (1'000'000 + 65535) / 65536);
  expect_shows(tested, large);
  tested.consume(65536);
  EXPECT_EQ(tested.block_count(), 1'000'000 / 65536U);
}

TYPED_TEST(buffer_chain_test, PreparedBytesCountWhenTheyAreCommitted) {
  buffer_chain tested = chain_of(this->pool_, {"abcde"});  // three bytes are free behind it
  for (const std::size_t count : std::initializer_list<std::size_t>{0, 1, 3, 4, 100, 70'000, 200'000}) {
    const buffer_chain::room_spans room = tested.prepare(this->pool_, count);
    EXPECT_EQ(bytes_of(room), count);
    EXPECT_EQ(tested.prepared_bytes(), count);
    expect_shows(tested, "abcde");
  }
  EXPECT_EQ(tested.prepare(this->pool_, 2).size(), 1U) << "less than before";
  fill(tested.prepare(this->pool_, 10), "0123456789");
  const std::byte* const room = tested.prepared()[0].data();
  EXPECT_EQ(tested.pieces().back().data() + 5, room);
  tested.commit(4);
  expect_shows(tested, "abcde0123");
  EXPECT_EQ(tested.block_count(), 2U);
  EXPECT_EQ(this->in_use(), 3U) << "spare blocks go back, the array of pieces is kept";
  EXPECT_TRUE(tested.prepared().empty());
  EXPECT_EQ(tested.prepared_bytes(), 0U);
  fill(tested.prepare(this->pool_, 3), "xyz");
  tested.commit(0);
  expect_shows(tested, "abcde0123");
}

TYPED_TEST(buffer_chain_test, ConsumingLeavesWhatIsPrepared) {
  for (const std::size_t room_bytes : std::initializer_list<std::size_t>{3, 10, 100'000}) {
    buffer_chain tested = chain_of(this->pool_, {"ab", "cdefg"});
    const buffer_chain::room_spans room = tested.prepare(this->pool_, room_bytes);
    const std::byte* const first = room[0].data();
    tested.consume(7);
    expect_shows(tested, "");
    EXPECT_EQ(bytes_of(tested.prepared()), room_bytes);
    EXPECT_EQ(tested.prepared()[0].data(), first);
    fill(tested.prepared(), "xyz");
    tested.commit(3);
    expect_shows(tested, "xyz");
    tested.consume(3);
    EXPECT_LE(this->in_use(), 1U);  // the array of pieces
    tested.clear();
    EXPECT_EQ(this->in_use(), 0U);
  }
}

TYPED_TEST(buffer_chain_test, WhatIsPreparedMovesWithTheChain) {
  buffer_chain from = chain_of(this->pool_, {"abcde"});
  fill(from.prepare(this->pool_, 8), "12345678");
  buffer_chain to = std::move(from);
  EXPECT_TRUE(from.prepared().empty());  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_EQ(from.prepared_bytes(), 0U);
  to.commit(8);
  expect_shows(to, "abcde12345678");
}

TYPED_TEST(buffer_chain_test, WhatIsPreparedGoesBackWhenTheChainChanges) {
  const std::function<void(buffer_chain&)> changes[] = {
      [&](buffer_chain& of) { of.append(buffer_of(this->pool_, "x")); },
      [&](buffer_chain& of) { of.prepend(buffer_of(this->pool_, "x")); },
      [&](buffer_chain& of) { of.append(chain_of(this->pool_, {"x"})); },
      [&](buffer_chain& of) { of.prepend(chain_of(this->pool_, {"x"})); },
      [&](buffer_chain& of) { static_cast<void>(of.split(1)); },
      [&](buffer_chain& of) { static_cast<void>(of.split(of.size())); },
      [&](buffer_chain& of) { of.trim(1); },
      [&](buffer_chain& of) { of.clear(); },
      [&](buffer_chain& of) {
        buffer_chain taken;
        taken.append(std::move(of));
      }};
  for (const auto& change : changes) {
    buffer_chain tested = chain_of(this->pool_, {"abcde"});
    fill(tested.prepare(this->pool_, 300), std::string(300, '!'));
    change(tested);
    EXPECT_EQ(tested.prepared_bytes(), 0U);
    EXPECT_TRUE(tested.prepared().empty());
    EXPECT_THROW(tested.commit(1), std::out_of_range);
    EXPECT_LE(this->in_use(), 2U);
  }
  EXPECT_EQ(this->in_use(), 0U);
  for (const std::size_t size : std::initializer_list<std::size_t>{5, 300}) {
    buffer next = this->pool_.acquire(size);
    EXPECT_TRUE(is_zero(next.prepare())) << "nobody said how much of it was written";
  }
}

// A block that was prepared is cleared as far as commit() said, and no further.
TYPED_TEST(buffer_chain_test, OnlyWhatIsCommittedCountsAsWritten) {
  buffer_chain tested;
  const buffer_chain::room_spans room = tested.prepare(this->pool_, 4096);
  ASSERT_EQ(room.size(), 1U);
  std::byte* const beyond = room[0].data() + 1000;  // more than is owned up to
  *beyond = std::byte{1};
  tested.commit(100);
  tested.consume(100);
  buffer next = this->pool_.acquire(4096);
  ASSERT_EQ(std::as_const(next).data() + 1000, beyond);
  EXPECT_EQ(*beyond, std::byte{1}) << "cleared without need";
  next.data();
}

// Who asks again may have written to what it was given first.
TYPED_TEST(buffer_chain_test, WhatIsPreparedAgainCountsAsWritten) {
  for (const std::size_t size : std::initializer_list<std::size_t>{1, 1000}) {
    buffer_chain tested = chain_of(this->pool_, {"abcde"});
    fill(tested.prepare(this->pool_, 1000), std::string(1000, '!'));
    tested.prepare(this->pool_, size);
    tested.commit(1);
    tested.clear();
    for (const std::size_t probed : std::initializer_list<std::size_t>{5, 1000}) {
      buffer next = this->pool_.acquire(probed);
      EXPECT_TRUE(is_zero(next.prepare()));
      next.commit(0);
    }
  }
}

TYPED_TEST(buffer_chain_test, OutOfRangeSaysTheNumbersAndChangesNothing) {
  buffer_chain tested = chain_of(this->pool_, {"abc", "def"});
  EXPECT_EQ(what_it_says([&] { tested.consume(7); }), "slabbuf::buffer_chain::consume: 7 bytes of 6");
  EXPECT_EQ(what_it_says([&] { tested.trim(7); }), "slabbuf::buffer_chain::trim: 7 bytes of 6");
  EXPECT_EQ(what_it_says([&] { static_cast<void>(tested.split(7)); }), "slabbuf::buffer_chain::split: 7 bytes of 6");
  EXPECT_EQ(what_it_says([&] { static_cast<void>(tested.share(4, 3)); }),
            "slabbuf::buffer_chain::share: 3 bytes at 4 of 6");
  EXPECT_EQ(what_it_says([&] { tested.coalesce(7); }), "slabbuf::buffer_chain::coalesce: 7 bytes of 6");
  EXPECT_EQ(what_it_says([&] { tested.commit(1); }), "slabbuf::buffer_chain::commit: 1 bytes of 0");
  std::array<std::byte, 3> into{};
  EXPECT_EQ(what_it_says([&] { tested.copy_out(into, 4); }), "slabbuf::buffer_chain::copy_out: 3 bytes at 4 of 6");
  for (const std::size_t large : std::initializer_list<std::size_t>{7, std::size_t{1} << 32, SIZE_MAX}) {
    EXPECT_THROW(tested.consume(large), std::out_of_range);
    EXPECT_THROW(tested.trim(large), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.split(large)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(large, 0)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(1, large)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(large, large)), std::out_of_range);
    EXPECT_THROW(tested.coalesce(large), std::out_of_range);
    EXPECT_THROW(tested.copy_out(into, large), std::out_of_range);
    EXPECT_THROW(tested.commit(large), std::out_of_range);
  }
  tested.prepare(this->pool_, 10);
  EXPECT_THROW(tested.commit(11), std::out_of_range);
  EXPECT_EQ(tested.prepared_bytes(), 10U);
  expect_shows(tested, "abcdef");
}

TYPED_TEST(buffer_chain_test, AThousandBlocksOfAByte) {
  buffer_chain tested;
  std::string expected;
  for (int count = 0; count < 1000; ++count) {
    const std::string one(1, static_cast<char>('a' + count % 26));
    if (count % 2 == 0) {
      tested.append(buffer_of(this->pool_, one));
      expected += one;
    } else {
      tested.prepend(buffer_of(this->pool_, one));
      expected.insert(0, one);
    }
  }
  EXPECT_EQ(tested.block_count(), 1000U);
  expect_shows(tested, expected);
  const buffer_chain front = tested.split(300);
  expect_shows(front, expected.substr(0, 300));
  const buffer_chain shared = tested.share(1, 698);
  expect_shows(shared, expected.substr(301, 698));
  EXPECT_EQ(tested.coalesce().size(), 700U);
  expect_shows(tested, expected.substr(300));
  EXPECT_EQ(tested.block_count(), 1U);
}

TYPED_TEST(buffer_chain_test, ItsArrayComesFromThePoolAndGoesBackWithClear) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is somebody else's";
  for (int round = 0; round < 2; ++round) {
    const std::uint64_t before = support::heap_allocations_of_this_thread();
    buffer_chain tested;
    for (int count = 0; count < 100; ++count) tested.append(buffer_of(this->pool_, "x"));
    EXPECT_EQ(this->in_use(), 101U);
    tested.consume(100);
    EXPECT_EQ(this->in_use(), 1U) << "kept for the next time";
    tested.clear();
    EXPECT_EQ(this->in_use(), 0U);
    if (round == 1) {
      EXPECT_EQ(support::heap_allocations_of_this_thread(), before);
    }
  }
}

TYPED_TEST(buffer_chain_test, AQueueOfSteadyLengthTakesNothingButItsBlocks) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is somebody else's";
  for (const int length : {1, 3, 4, 5, 100}) {
    buffer_chain tested;
    const auto step = [&] {
      tested.append(buffer_of(this->pool_, "0123456789"));
      tested.consume(10);
    };
    for (int count = 0; count < length; ++count) tested.append(buffer_of(this->pool_, "0123456789"));
    for (int count = 0; count < 2 * length; ++count) step();
    const std::uint64_t heap_before = support::heap_allocations_of_this_thread();
    const std::uint64_t acquired_before = this->pool_.stats().acquired;
    for (int count = 0; count < 1000; ++count) step();
    EXPECT_EQ(support::heap_allocations_of_this_thread(), heap_before);
    EXPECT_EQ(this->pool_.stats().acquired, acquired_before + 1000) << length;
  }
}

// The pool has no block for the array: the heap has.
TYPED_TEST(buffer_chain_test, ItsArrayComesFromTheHeapWhenThePoolHasNone) {
  TypeParam pool(with_budget(1024));
  buffer_chain tested;
  std::string expected;
  for (int count = 0; count < 500; ++count) {
    tested.append(buffer_of(pool, "ab"));
    expected += "ab";
  }
  expect_shows(tested, expected);
  EXPECT_LE(pool.stats().bytes, 1024U);
  tested.consume(999);
  expect_shows(tested, "b");
}

TYPED_TEST(buffer_chain_test, MayHoldBlocksOfSeveralPools) {
  TypeParam other;
  buffer_chain tested;
  for (int count = 0; count < 6; ++count) tested.append(buffer_of(count % 2 == 0 ? this->pool_ : other, "ab"));
  const buffer_chain shared = tested.share(3, 6);
  expect_shows(shared, "bababa");
  tested.clear();
}

TYPED_TEST(buffer_chain_test, OversizeAndSampledAndHardenedBlocks) {
  for (const hardening level : {hardening::off, hardening::cheap, hardening::full}) {
    pool_options options;
    options.harden = level;
    options.sample_period = 1;
    TypeParam pool(options);
    buffer_chain tested(buffer_of(pool, std::string(3 << 20, 'x')));
    tested.append_copy(pool, bytes(std::string(100, 'y')));
    buffer_chain front = tested.split(2 << 20);
    expect_shows(front, std::string(2 << 20, 'x'));
    front.clear();
    tested.consume(1 << 20);
    expect_shows(tested, std::string(100, 'y'));
    tested.clear();
    EXPECT_TRUE(pool.holders().empty());
    EXPECT_EQ(pool.stats().in_use, 0U);
    EXPECT_TRUE(pool.check_invariants());
  }
}

}  // namespace
}  // namespace slabbuf
