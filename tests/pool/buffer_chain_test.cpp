// SPDX-License-Identifier: MIT
// A chain against a string: whatever is done to both, they show the same bytes. And who owns the blocks then,
// what is thrown, and that nothing has changed when it was.
#include <slabbuf/pool/buffer_chain.hpp>

#include "support/both_pools.hpp"
#include "support/counting_allocator.hpp"
#include "support/seeded_random.hpp"

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

using support::seeded_random;
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

std::string text(const buffer_chain& of) {
  std::string all;
  for (const std::span<const std::byte> each : of.spans())
    all.append(reinterpret_cast<const char*>(each.data()), each.size());
  return all;
}

std::span<const std::byte> bytes(std::string_view of) { return std::as_bytes(std::span(of)); }

template <class Pool>
buffer buffer_of(Pool& pool, std::string_view what) {
  buffer made = pool.acquire(what.size());
  if (!what.empty()) std::memcpy(made.writable(what.size()).data(), what.data(), what.size());
  return made;
}

template <class Pool>
buffer_chain chain_of(Pool& pool, std::initializer_list<std::string_view> pieces) {
  buffer_chain made;
  for (const std::string_view each : pieces) made.append(buffer_of(pool, each));
  return made;
}

void fill(const buffer_chain::room_spans& room, std::string_view with) {
  for (const std::span<std::byte> each : room) {
    const std::size_t count = std::min(each.size(), with.size());
    std::memcpy(each.data(), with.data(), count);
    with.remove_prefix(count);
  }
  ASSERT_TRUE(with.empty()) << "no room for it";
}

std::size_t bytes_of(const buffer_chain::room_spans& room) {
  std::size_t sum = 0;
  for (const std::span<std::byte> each : room) sum += each.size();
  return sum;
}

// Everything a chain says of itself, from every side.
void expect_shows(const buffer_chain& tested, const std::string& expected) {
  ASSERT_EQ(tested.size(), expected.size());
  ASSERT_EQ(tested.empty(), expected.empty());
  ASSERT_EQ(text(tested), expected);
  ASSERT_EQ(tested.spans().size(), tested.block_count());
  ASSERT_EQ(tested.pieces().size(), tested.block_count());
  std::size_t sum = 0;
  std::size_t index = 0;
  std::size_t pinned_bytes = 0;
  for (const buffer_chain::piece& each : tested.pieces()) {
    ASSERT_NE(each.size(), 0U) << "an empty piece";
    ASSERT_EQ(tested.spans()[index].data(), each.data());
    ASSERT_EQ(tested.spans()[index].size(), each.size());
    ASSERT_LE(each.written, each.capacity);
    sum += each.size();
    pinned_bytes += each.capacity;
    ++index;
  }
  ASSERT_EQ(sum, tested.size());
  ASSERT_EQ(tested.pinned_bytes(), pinned_bytes);
}

bool is_zero(std::span<const std::byte> memory) {
  return std::all_of(memory.begin(), memory.end(), [](std::byte each) { return each == std::byte{0}; });
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

// The states a failure is tried on: inside, outside, with spare blocks, split in the middle.
template <class Pool>
buffer_chain several(Pool& pool, std::size_t piece_count) {
  buffer_chain made;
  for (std::size_t index = 0; index < piece_count; ++index) made.append(buffer_of(pool, "abc"));
  return made;
}

// Every action with no budget left for it: it throws, and the chain is what it was.
TYPED_TEST(buffer_chain_test, WhenTheBudgetSaysNoNothingHasChanged) {
  pool_options options = with_budget(64 << 10);
  options.size_classes = {4, 16, 4096, 16384};
  TypeParam pool(options);
  const std::function<void(buffer_chain&)> actions[] = {
      [](buffer_chain& of) { of.coalesce(); }, [](buffer_chain& of) { of.coalesce(5); },
      [&](buffer_chain& of) { of.append_copy(pool, bytes(std::string(30'000, 'x'))); },
      [&](buffer_chain& of) { of.prepare(pool, 30'000); }, [&](buffer_chain& of) { of.prepare(pool, SIZE_MAX); }};
  for (const std::size_t piece_count : std::initializer_list<std::size_t>{2, 4, 5, 100}) {
    buffer_chain tested = several(pool, piece_count);
    const std::string expected = text(tested);
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
TYPED_TEST(buffer_chain_test, WhenTheHeapSaysNoNothingHasChangedOrIsLost) {
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
        const std::string expected = text(tested);
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
          expect_shows(chain, text(several(pool, 6)));
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

// Two chains and the strings they should show; everything that can be done to them, at random, in a pool whose fresh
// buffers must be zero throughout.
template <class Pool>
class model {
 public:
  model(const pool_options& options, std::uint64_t seed) : random_(seed), pool_(options) {}

  void run(int steps) {
    for (int each = 0; each < steps; ++each) {
      step();
      ASSERT_NO_FATAL_FAILURE(expect_shows(chain_[0], text_[0])) << "step " << each;
      ASSERT_NO_FATAL_FAILURE(expect_shows(chain_[1], text_[1])) << "step " << each;
      if (random_.one_in(100)) {
        ASSERT_TRUE(pool_.check_invariants());
        std::swap(chain_[0], chain_[1]);
        std::swap(text_[0], text_[1]);
      }
    }
    chain_[0].clear();
    chain_[1].clear();
    kept_.clear();
    EXPECT_EQ(pool_.stats().in_use, 0U);
    EXPECT_TRUE(pool_.check_invariants());
    EXPECT_EQ(dirty_count_, 0U);
  }

 private:
  std::string random_text() {
    std::string made(random_.one_in(8) ? random_.between(0, 1) : random_.magnitude(random_.one_in(50) ? 16 : 8), ' ');
    for (char& each : made) each = static_cast<char>('a' + random_.between(0, 25));
    return made;
  }

  buffer fresh(const std::string& what) {
    buffer made = pool_.acquire(what.size());
    dirty_count_ += is_zero(made.prepare()) ? 0U : 1U;
    made.commit(made.size());
    std::memcpy(made.data(), what.data(), what.size());
    return made;
  }

  void step() {
    const std::size_t which = random_.between(0, 1);
    buffer_chain& chain = chain_[which];
    std::string& text = text_[which];
    buffer_chain& other = chain_[1 - which];
    std::string& other_text = text_[1 - which];
    const std::size_t count = random_.between(0, text.size());
    const std::string added = random_text();
    // Long ones take long to compare.
    switch (random_.between(0, text.size() > 20'000 ? 6 : 21)) {
      case 0:
      case 1:
        chain.consume(count);
        text.erase(0, count);
        break;
      case 2:
        chain.trim(count);
        text.resize(count);
        break;
      case 3:
        chain.clear();
        text.clear();
        break;
      case 4:
        other = chain.split(count);
        other_text = text.substr(0, count);
        text.erase(0, count);
        break;
      case 5: {
        buffer_chain front = chain.split(count);
        front.append(std::move(chain));
        chain = std::move(front);
        break;
      }
      case 6: {
        std::string out(count, ' ');
        const std::size_t position = random_.between(0, text.size() - count);
        chain.copy_out(std::as_writable_bytes(std::span(out)), position);
        ASSERT_EQ(out, text.substr(position, count));
        break;
      }
      case 7:
      case 8:
        chain.append(fresh(added));
        text += added;
        break;
      case 9:
        chain.prepend(fresh(added));
        text = added + text;
        break;
      case 10:
        chain.append_copy(pool_, bytes(added));
        text += added;
        break;
      case 11:
        chain.append(std::move(other));
        text += other_text;
        other_text.clear();
        break;
      case 12:
        chain.prepend(std::move(other));
        text = other_text + text;
        other_text.clear();
        break;
      case 13: {
        const std::size_t position = random_.between(0, text.size() - count);
        other = chain.share(position, count);
        other_text = text.substr(position, count);
        break;
      }
      case 14: {
        const std::size_t position = random_.between(0, text.size() - count);
        other.append(chain.share(position, count));
        other_text += text.substr(position, count);
        break;
      }
      case 15: {
        const std::span<const std::byte> front = chain.coalesce(count);
        ASSERT_EQ(std::string_view(reinterpret_cast<const char*>(front.data()), front.size()), text.substr(0, count));
        break;
      }
      case 16: {
        shared_slice slice(fresh(added));
        const std::size_t position = random_.between(0, slice.size());
        const std::size_t length = random_.between(0, slice.size() - position);
        kept_.push_back(slice.share());
        if (random_.one_in(2)) {
          chain.append(slice.share(position, length));
          text += added.substr(position, length);
        } else {
          chain.prepend(slice.share(position, length));
          text = added.substr(position, length) + text;
        }
        if (kept_.size() > 20) kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(random_.between(0, 20)));
        break;
      }
      case 17:
      case 18: {
        const std::size_t committed = random_.between(0, added.size());
        chain.prepare(pool_, added.size());
        ASSERT_EQ(bytes_of(chain.prepared()), added.size());
        fill(chain.prepared(), added.substr(0, committed));
        if (random_.one_in(3)) {
          chain.consume(count);
          text.erase(0, count);
        }
        chain.commit(committed);
        text += added.substr(0, committed);
        break;
      }
      case 19:
        fill(chain.prepare(pool_, added.size()), added);  // and something else comes instead of commit()
        break;
      case 20: {
        buffer_chain moved = std::move(chain);
        chain = std::move(moved);
        break;
      }
      default: {
        const buffer probe = fresh(added);
        const pool_stats now = pool_.stats();
        ASSERT_GE(now.in_use, 1U);
      }
    }
  }

  seeded_random random_;
  Pool pool_;
  buffer_chain chain_[2];
  std::string text_[2];
  std::vector<shared_slice> kept_;
  std::uint64_t dirty_count_ = 0;
};

TYPED_TEST(buffer_chain_test, ShowsWhatAStringWouldShow) {
  std::uint64_t seed = 309;
  for (const zeroing policy : {zeroing::whole_block, zeroing::dirty_extent}) {
    for (const hardening level : {hardening::off, hardening::full}) {
      pool_options options = with_zeroing(policy);
      options.harden = level;
      options.sample_period = level == hardening::off ? 0 : 5;
      ASSERT_NO_FATAL_FAILURE(model<TypeParam>(options, ++seed).run(5000));
    }
  }
  pool_options odd;
  odd.size_classes = {1, 3, 7, 100, 1000};
  ASSERT_NO_FATAL_FAILURE(model<TypeParam>(odd, ++seed).run(5000));
}

}  // namespace
}  // namespace slabbuf
