// SPDX-License-Identifier: MIT
// What a slice shows, who keeps the block, and that the block is zero for the next holder however its owners
// came and went.
#include <slabbuf/pool/shared_slice.hpp>

#include "support/both_pools.hpp"
#include "support/counting_allocator.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::is_zero;
using support::seeded_random;
using support::with_budget;
using support::with_zeroing;

static_assert(sizeof(shared_slice) <= 32);
static_assert(std::is_nothrow_default_constructible_v<shared_slice>);
static_assert(std::is_nothrow_move_constructible_v<shared_slice> && std::is_nothrow_move_assignable_v<shared_slice>);
static_assert(!std::is_copy_constructible_v<shared_slice> && !std::is_copy_assignable_v<shared_slice>);
static_assert(std::is_nothrow_constructible_v<shared_slice, buffer&&>);
static_assert(std::is_trivially_copyable_v<detail::block_part>);

std::string_view text(const shared_slice& of) { return {reinterpret_cast<const char*>(of.data()), of.size()}; }

void write(buffer& to, std::string_view what) {
  std::memcpy(to.writable(what.size()).data(), what.data(), what.size());
}

template <class Pool>
buffer buffer_of(Pool& pool, std::string_view what) {
  buffer made = pool.acquire(what.size());
  write(made, what);
  return made;
}

// Every byte of the next block of that size, which on these pools is the one that came back last.
template <class Pool>
bool next_is_zero(Pool& pool, std::size_t size) {
  buffer next = pool.acquire(size);
  const bool zero = is_zero(next.prepare());
  next.commit(0);
  return zero;
}

template <class Pool>
class shared_slice_test : public ::testing::Test {
 protected:
  ~shared_slice_test() override {
    EXPECT_EQ(in_use(), 0U);
    EXPECT_TRUE(pool_.check_invariants());
  }
  std::uint64_t in_use() const { return pool_.stats().in_use; }

  Pool pool_;
};
TYPED_TEST_SUITE(shared_slice_test, support::both_pools, support::pool_name);

TYPED_TEST(shared_slice_test, OfNothingOwnsNothing) {
  shared_slice tested;
  EXPECT_TRUE(tested.empty());
  EXPECT_EQ(tested.size(), 0U);
  EXPECT_EQ(tested.data(), nullptr);
  EXPECT_TRUE(tested.span().empty());
  EXPECT_EQ(tested.pinned_bytes(), 0U);
  EXPECT_FALSE(tested.unique());
  EXPECT_TRUE(tested.share().empty());
  EXPECT_TRUE(tested.clone().empty());
  EXPECT_FALSE(tested.compact());
  tested.trim(0);
  tested.trim_front(0);
  tested.release();
  EXPECT_TRUE(buffer().share().empty());
  buffer nothing;
  EXPECT_TRUE(nothing.share().empty());
}

TYPED_TEST(shared_slice_test, TakesABufferOver) {
  buffer from = buffer_of(this->pool_, "hello, world");
  const std::byte* const data = std::as_const(from).data();
  shared_slice tested(std::move(from));
  EXPECT_FALSE(from);  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_EQ(from.size(), 0U);
  EXPECT_EQ(tested.data(), data);
  EXPECT_EQ(text(tested), "hello, world");
  EXPECT_EQ(tested.pinned_bytes(), 16U);
  EXPECT_TRUE(tested.unique());
  EXPECT_EQ(this->in_use(), 1U);
  tested.release();
  EXPECT_TRUE(tested.empty());
  EXPECT_EQ(this->in_use(), 0U);
  tested.release();
}

TYPED_TEST(shared_slice_test, ABufferWithoutBytesGivesItsBlockBack) {
  const shared_slice tested(this->pool_.acquire(0));
  EXPECT_TRUE(tested.empty());
  EXPECT_EQ(this->in_use(), 0U);
}

TYPED_TEST(shared_slice_test, ABufferThatIsSharedStaysValid) {
  buffer first = buffer_of(this->pool_, "hello, world");
  shared_slice second = first.share();
  EXPECT_TRUE(first);
  EXPECT_EQ(first.size(), 12U);
  EXPECT_EQ(first.capacity(), 16U);
  EXPECT_EQ(second.data(), std::as_const(first).data());
  EXPECT_EQ(text(second), "hello, world");
  EXPECT_FALSE(second.unique());
  EXPECT_EQ(this->in_use(), 1U);
  write(first, "HELLO");
  EXPECT_EQ(text(second), "HELLO, world") << "every owner sees it";
  first.release();
  EXPECT_FALSE(first);
  EXPECT_EQ(this->in_use(), 1U);
  EXPECT_TRUE(second.unique());
  EXPECT_EQ(text(second), "HELLO, world");
  second.release();
  EXPECT_EQ(this->in_use(), 0U);
  EXPECT_TRUE(next_is_zero(this->pool_, 12));
}

TYPED_TEST(shared_slice_test, TheBufferMayGoLast) {
  buffer first = buffer_of(this->pool_, "hello, world");
  shared_slice second = first.share(7, 5);
  EXPECT_EQ(text(second), "world");
  buffer moved = std::move(first);
  second.release();
  EXPECT_EQ(this->in_use(), 1U);
  shared_slice again = moved.share(0, 1);
  moved = buffer();
  EXPECT_EQ(text(again), "h");
  again = shared_slice();
  EXPECT_EQ(this->in_use(), 0U);
  EXPECT_TRUE(next_is_zero(this->pool_, 12));
}

TYPED_TEST(shared_slice_test, ABufferThatIsGivenAwayIsNotCounted) {
  buffer from = buffer_of(this->pool_, "hello");
  const shared_slice tested = std::move(from).share();
  EXPECT_FALSE(from);  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_TRUE(tested.unique());
  EXPECT_EQ(text(this->pool_.acquire(3).share()), std::string_view("\0\0\0", 3));
}

TYPED_TEST(shared_slice_test, SharesPartsOfParts) {
  shared_slice all(buffer_of(this->pool_, "0123456789"));
  shared_slice middle = all.share(2, 6);
  EXPECT_EQ(text(middle), "234567");
  shared_slice inner = middle.share(1, 3);
  EXPECT_EQ(text(inner), "345");
  EXPECT_EQ(text(inner.share()), "345");
  EXPECT_EQ(inner.pinned_bytes(), 16U);
  EXPECT_TRUE(middle.share(6, 0).empty());
  all.release();
  middle.release();
  EXPECT_EQ(this->in_use(), 1U);
  EXPECT_TRUE(inner.unique());
  EXPECT_EQ(text(inner), "345");
}

TYPED_TEST(shared_slice_test, NarrowsFromBothEnds) {
  shared_slice tested(buffer_of(this->pool_, "0123456789"));
  tested.trim_front(2);
  EXPECT_EQ(text(tested), "23456789");
  tested.trim(3);
  EXPECT_EQ(text(tested), "234");
  tested.trim(3);
  tested.trim_front(0);
  EXPECT_EQ(text(tested), "234");
  EXPECT_EQ(tested.pinned_bytes(), 16U);
  tested.trim_front(3);
  EXPECT_TRUE(tested.empty());
  EXPECT_EQ(tested.data(), nullptr);
  EXPECT_EQ(this->in_use(), 0U) << "a slice of no bytes owns nothing";
  shared_slice other(buffer_of(this->pool_, "0123456789"));
  other.trim(0);
  EXPECT_EQ(this->in_use(), 0U);
}

TYPED_TEST(shared_slice_test, MovingHandsTheViewOver) {
  shared_slice from(buffer_of(this->pool_, "hello"));
  shared_slice to = std::move(from);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): what is left is promised
  EXPECT_EQ(text(to), "hello");
  shared_slice other(buffer_of(this->pool_, "other"));
  other = std::move(to);
  EXPECT_EQ(text(other), "hello");
  EXPECT_EQ(this->in_use(), 1U);
  shared_slice& same = other;
  other = std::move(same);
  EXPECT_EQ(text(other), "hello");
}

TYPED_TEST(shared_slice_test, ACloneHasABlockOfItsOwn) {
  shared_slice from(buffer_of(this->pool_, std::string(1000, 'x')));
  shared_slice part = from.share(500, 100);
  shared_slice tested = part.clone();
  EXPECT_EQ(text(tested), std::string(100, 'x'));
  EXPECT_NE(tested.data(), part.data());
  EXPECT_EQ(tested.pinned_bytes(), 128U);
  EXPECT_TRUE(tested.unique());
  EXPECT_EQ(this->in_use(), 2U);
  tested.release();
  EXPECT_TRUE(next_is_zero(this->pool_, 100));
}

TYPED_TEST(shared_slice_test, CompactLetsGoOfABlockThatIsTooLarge) {
  shared_slice tested(buffer_of(this->pool_, std::string(1000, 'x') + std::string(24, 'y')));
  EXPECT_FALSE(tested.compact()) << "it fits";
  tested.trim_front(500);
  EXPECT_FALSE(tested.compact()) << "524 bytes need 1024, too";
  tested.trim_front(490);
  EXPECT_TRUE(tested.compact());
  EXPECT_EQ(text(tested), std::string(10, 'x') + std::string(24, 'y'));
  EXPECT_EQ(tested.pinned_bytes(), 64U);
  EXPECT_EQ(this->in_use(), 1U);
  EXPECT_FALSE(tested.compact());
}

TYPED_TEST(shared_slice_test, CompactOfAnOversizeBlock) {
  const std::size_t largest = this->pool_.size_classes().largest();
  buffer from = this->pool_.acquire(3 * largest);
  from.writable(largest + page_size() + 1).back() = std::byte{7};
  shared_slice tested(std::move(from));
  EXPECT_FALSE(tested.compact());
  tested.trim(largest + page_size() + 1);
  EXPECT_TRUE(tested.compact());
  EXPECT_EQ(tested.pinned_bytes(), largest + 2 * page_size());
  EXPECT_EQ(tested.span().back(), std::byte{7});
  EXPECT_FALSE(tested.compact()) << "to the page";
  tested.trim_front(largest + page_size());
  EXPECT_TRUE(tested.compact());
  EXPECT_EQ(tested.pinned_bytes(), 2U);
  EXPECT_EQ(tested.span().back(), std::byte{7});
}

TYPED_TEST(shared_slice_test, CopiesSayNoWhenTheBudgetDoesAndChangeNothing) {
  TypeParam pool(with_budget(1024));
  shared_slice tested(buffer_of(pool, std::string(1024, 'x')));
  EXPECT_THROW(static_cast<void>(tested.clone()), budget_exceeded);
  tested.trim(10);
  EXPECT_THROW(tested.compact(), budget_exceeded);
  EXPECT_EQ(text(tested), std::string(10, 'x'));
  EXPECT_EQ(tested.pinned_bytes(), 1024U);
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

TYPED_TEST(shared_slice_test, OutOfRangeSaysTheNumbersAndChangesNothing) {
  buffer from = buffer_of(this->pool_, "0123456789");
  shared_slice tested = from.share();
  EXPECT_EQ(what_it_says([&] { tested.trim(11); }), "slabbuf::shared_slice::trim: 11 bytes of 10");
  EXPECT_EQ(what_it_says([&] { tested.trim_front(11); }), "slabbuf::shared_slice::trim_front: 11 bytes of 10");
  EXPECT_EQ(what_it_says([&] { static_cast<void>(tested.share(8, 3)); }),
            "slabbuf::shared_slice::share: 3 bytes at 8 of 10");
  EXPECT_EQ(what_it_says([&] { static_cast<void>(from.share(11, 0)); }), "slabbuf::buffer::share: 0 bytes at 11 of 10");
  for (const std::size_t large : std::initializer_list<std::size_t>{11, std::size_t{1} << 32, SIZE_MAX}) {
    EXPECT_THROW(tested.trim(large), std::out_of_range);
    EXPECT_THROW(tested.trim_front(large), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(0, large)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(large, 0)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(tested.share(10, large)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(from.share(1, large)), std::out_of_range);
    EXPECT_THROW(static_cast<void>(from.share(large, large)), std::out_of_range);
  }
  EXPECT_EQ(text(tested), "0123456789");
  EXPECT_TRUE(from);
}

TYPED_TEST(shared_slice_test, NoMemoryForTheCountLosesNothing) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is somebody else's";
  buffer from = buffer_of(this->pool_, "hello");
  {
    const support::failing_heap failing(1, support::heap_failure::once);
    EXPECT_THROW(static_cast<void>(from.share()), std::bad_alloc);
    EXPECT_TRUE(failing.failed());
  }
  EXPECT_TRUE(from);
  shared_slice tested = std::move(from).share();
  EXPECT_TRUE(tested.unique());
  {
    const support::failing_heap failing(1, support::heap_failure::once);
    EXPECT_THROW(static_cast<void>(tested.share()), std::bad_alloc);
  }
  EXPECT_TRUE(tested.unique());
  EXPECT_EQ(text(tested), "hello");
  EXPECT_EQ(text(tested.share()), "hello");
}

TYPED_TEST(shared_slice_test, SharingAllocatesOnceASlab) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is somebody else's";
  std::vector<buffer> held;
  for (int count = 0; count < 10; ++count) held.push_back(buffer_of(this->pool_, "hello"));
  const std::uint64_t before = support::heap_allocations_of_this_thread();
  const shared_slice first = held.front().share();
  EXPECT_EQ(support::heap_allocations_of_this_thread(), before + 1);
  for (buffer& each : held) {
    shared_slice one = each.share();
    shared_slice two = one.share(1, 2);
    const shared_slice three = std::move(each).share();
    one.release();
  }
  EXPECT_EQ(support::heap_allocations_of_this_thread(), before + 1);
}

// A block that had several owners is one like any other for the next holder.
TYPED_TEST(shared_slice_test, ABlockIsUsedAgainAndCountsFromTheStart) {
  const std::byte* block = nullptr;
  for (int round = 0; round < 5; ++round) {
    buffer first = buffer_of(this->pool_, "hello");
    if (block != nullptr) {
      EXPECT_EQ(std::as_const(first).data(), block);
    }
    block = std::as_const(first).data();
    shared_slice second = first.share();
    const shared_slice third = second.share();
    EXPECT_FALSE(third.unique());
    EXPECT_EQ(this->in_use(), 1U);
    first.release();
    second.release();
    EXPECT_TRUE(third.unique());
  }
}

TYPED_TEST(shared_slice_test, ManyOwnersOfOneBlock) {
  buffer first = buffer_of(this->pool_, "hello");
  std::vector<shared_slice> owners;
  for (int count = 0; count < 1000; ++count) owners.push_back(first.share(0, 1 + static_cast<std::size_t>(count % 5)));
  first.release();
  seeded_random random(307);
  while (owners.size() > 1) {
    std::swap(owners[random.between(0, owners.size() - 1)], owners.back());
    owners.pop_back();
    ASSERT_EQ(this->in_use(), 1U);
    ASSERT_EQ(owners.front().unique(), owners.size() == 1);
  }
}

// What every owner has written counts, whoever goes last. The block that is looked at afterwards is the same one.
TYPED_TEST(shared_slice_test, TheLastOwnerClearsWhatTheOthersWrote) {
  for (const std::size_t size : std::initializer_list<std::size_t>{2, 1000, 100'000, std::size_t{3} << 20}) {
    for (int order = 0; order < 3; ++order) {
      SCOPED_TRACE(testing::Message() << size << " order " << order);
      buffer writer = this->pool_.acquire(size);
      const std::byte* const block = std::as_const(writer).data();
      shared_slice reader = writer.share(0, 1);
      if (order == 0) reader.release();
      switch (order) {
        case 0: std::fill_n(writer.data(), size, std::byte{0xa5}); break;
        case 1: writer.writable(size).back() = std::byte{1}; break;
        default: std::fill_n(writer.prepare().data(), size, std::byte{0xa5});  // and no commit()
      }
      writer.release();
      reader.release();
      ASSERT_EQ(this->in_use(), 0U);
      buffer next = this->pool_.acquire(size);
      EXPECT_EQ(std::as_const(next).data(), block);
      EXPECT_TRUE(is_zero(next.prepare()));
      next.commit(0);
    }
  }
}

// Under dirty_extent only what was written is cleared: sharing must not make that more, nor what was written when the
// block was shared before.
TYPED_TEST(shared_slice_test, SharingClearsNoMoreThanWasWritten) {
  for (int round = 0; round < 2; ++round) {
    buffer writer = this->pool_.acquire(4096);
    std::byte* const beyond = writer.prepare().data() + 1000;  // more than is owned up to below
    writer.commit(100);
    *beyond = std::byte{1};
    shared_slice reader = writer.share();
    writer.release();
    reader.release();
    buffer next = this->pool_.acquire(4096);
    ASSERT_EQ(std::as_const(next).data() + 1000, beyond);
    EXPECT_EQ(*beyond, std::byte{1}) << "cleared without need";
    reader = next.share(0, 1);
    next.data();
    next.release();
  }
}

// Owners come and go at random and write by every way there is; a fresh buffer is zero all the same.
template <class Pool>
std::uint64_t count_dirty_buffers(const pool_options& options, std::uint64_t seed) {
  seeded_random random(seed);
  Pool pool(options);
  std::vector<buffer> buffers;
  std::vector<shared_slice> slices;
  std::uint64_t dirty_count = 0;
  const auto write_some = [&](buffer& held) {
    const std::size_t count = random.between(0, held.size());
    switch (random.between(0, 3)) {
      case 0: std::fill_n(held.data(), held.size(), std::byte{0xa5}); break;
      case 1: std::fill_n(held.writable(count).data(), count, std::byte{0xa5}); break;
      case 2: {
        const std::span<std::byte> room = held.prepare();
        std::fill(room.begin(), room.end(), std::byte{0xa5});
        if (random.one_in(2)) held.commit(room.size());
        break;
      }
      default: held.resize(random.between(0, held.capacity()));
    }
  };
  for (int step = 0; step < 5000; ++step) {
    switch (random.between(0, 6)) {
      case 0:
      case 1: {
        buffer got = pool.acquire(random.magnitude(random.one_in(30) ? 21 : 13));
        dirty_count += is_zero(got.prepare()) ? 0U : 1U;
        got.commit(got.size());
        write_some(got);
        buffers.push_back(std::move(got));
        break;
      }
      case 2:
        if (buffers.empty()) break;
        write_some(buffers[random.between(0, buffers.size() - 1)]);
        break;
      case 3: {
        if (buffers.empty()) break;
        buffer& from = buffers[random.between(0, buffers.size() - 1)];
        const std::size_t position = random.between(0, from.size());
        slices.push_back(from.share(position, random.between(0, from.size() - position)));
        break;
      }
      case 4: {
        if (slices.empty()) break;
        shared_slice& from = slices[random.between(0, slices.size() - 1)];
        if (random.one_in(10)) from.compact();
        slices.push_back(random.one_in(5) ? from.clone() : from.share());
        break;
      }
      case 5:
        if (buffers.empty()) break;
        std::swap(buffers[random.between(0, buffers.size() - 1)], buffers.back());
        if (random.one_in(3)) slices.emplace_back(std::move(buffers.back()));
        buffers.pop_back();
        break;
      default:
        for (int count = 0; count < 2 && !slices.empty(); ++count) {
          std::swap(slices[random.between(0, slices.size() - 1)], slices.back());
          slices.pop_back();
        }
    }
    if (random.one_in(500)) slices.clear();
    if (random.one_in(500)) buffers.clear();
    if (random.one_in(200)) pool.trim();
  }
  buffers.clear();
  slices.clear();
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
  return dirty_count;
}

TYPED_TEST(shared_slice_test, EveryByteOfAFreshBufferIsZeroHoweverOwnersComeAndGo) {
  std::uint64_t seed = 308;
  for (const zeroing policy : {zeroing::whole_block, zeroing::dirty_extent}) {
    for (const hardening level : {hardening::off, hardening::cheap, hardening::full}) {
      for (const std::uint32_t sample_period : {0U, 3U}) {
        pool_options options = with_zeroing(policy);
        options.harden = level;
        options.sample_period = sample_period;
        EXPECT_EQ(count_dirty_buffers<TypeParam>(options, ++seed), 0U);
      }
    }
  }
  EXPECT_GT(count_dirty_buffers<TypeParam>(with_zeroing(zeroing::none), ++seed), 0U) << "the test would not notice";
}

TYPED_TEST(shared_slice_test, ASampledBufferIsHeldUntilItsLastOwnerGoes) {
  pool_options options;
  options.sample_period = 1;
  TypeParam pool(options);
  buffer first = buffer_of(pool, "hello");
  shared_slice second = first.share();
  first.release();
  EXPECT_EQ(pool.holders().size(), 1U);
  EXPECT_EQ(second.pinned_bytes(), 8U);
  second.release();
  EXPECT_TRUE(pool.holders().empty());
  EXPECT_TRUE(pool.check_invariants());
}

TYPED_TEST(shared_slice_test, LentBlocksOfTheSameSlabStayLent) {
  const raw_buffer raw = this->pool_.get_buffer(100);
  buffer first = this->pool_.acquire(100);
  shared_slice second = first.share();
  this->pool_.put_buffer(raw);
  first.release();
  const raw_buffer again = this->pool_.get_buffer(100);
  EXPECT_EQ(again.data, raw.data);
  second.release();
  this->pool_.put_buffer(again);
}

TYPED_TEST(shared_slice_test, ABlockThatIsSharedIsOutInAHardenedPool) {
  pool_options options;
  options.harden = hardening::full;
  TypeParam pool(options);
  buffer first = buffer_of(pool, "hello");
  shared_slice second = first.share();
  shared_slice third = second.share();
  first.release();
  second.release();
  EXPECT_EQ(text(third), "hello");
  third.release();
  EXPECT_TRUE(next_is_zero(pool, 5));
  EXPECT_EQ(pool.stats().in_use, 0U);
}

using shared_slice_death_test = shared_slice_test<local_pool>;

TEST_F(shared_slice_death_test, APoolThatDiesBeforeASliceIsMisuse) {
  EXPECT_DEATH(
      {
        shared_slice outlives;
        local_pool pool;
        buffer first = pool.acquire(10);
        outlives = first.share();
      },
      "pool_died_in_use");
}

}  // namespace
}  // namespace slabbuf
