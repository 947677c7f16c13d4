// SPDX-License-Identifier: MIT
// A cache over a depot of its own: what went through the depot is read off depot::blocks_out().
#include <slabbuf/pool/detail/thread_cache.hpp>

#include "support/failing_page_source.hpp"
#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf::detail {
namespace {

constexpr std::size_t sizes[] = {16, 64, 100, 4096, 64 << 10, 1 << 20};
constexpr std::size_t class_count = std::size(sizes);
constexpr std::size_t medium = 1;  // the class single-class tests use

std::unique_ptr<bin[]> make_classes() {
  auto classes = std::make_unique<bin[]>(class_count + 1);
  for (std::uint32_t index = 0; index < class_count; ++index) {
    classes[index].of.size = sizes[index];
    classes[index].of.index = index;
  }
  return classes;
}

class cache_over_depot {
 public:
  explicit cache_over_depot(std::size_t cache_bytes_max, std::size_t budget_bytes_max = memory_budget::unlimited)
      : below(pages_, budget_bytes_max, bins.get(), class_count, false),
        cache(thread_cache::make(below, bins.get(), class_count, {.bytes_max = cache_bytes_max}, room)) {}
  cache_over_depot(const cache_over_depot&) = delete;
  cache_over_depot& operator=(const cache_over_depot&) = delete;
  ~cache_over_depot() {
    cache->flush();
    EXPECT_EQ(below.budget().charged(), 0U);
    EXPECT_TRUE(below.check_invariants());
  }

  // What a pool does for an acquire and for a release.
  std::byte* get(std::size_t index) {
    std::byte* block = nullptr;
    if (!bins[index].pop(block)) {
      const thread_cache::taken got = cache->take(index);
      EXPECT_EQ(got.why, refusal::none);
      block = got.block;
    }
    return block;
  }
  void put(std::size_t index, std::byte* block) {
    if (!bins[index].push(block)) cache->put(index, block);
  }

  std::size_t cached_bytes() const {
    std::size_t bytes = 0;
    for (std::size_t index = 0; index < class_count; ++index) bytes += cache->depth(index) * sizes[index];
    return bytes;
  }

  // Fills the bin of `index` until a put goes to the depot, and returns the depth it reached.
  std::uint64_t fill(std::size_t index) {
    std::vector<std::byte*> held;
    for (int count = 0; count < 1000; ++count) held.push_back(get(index));
    std::uint64_t deepest = 0;
    for (std::byte* const block : held) {
      put(index, block);
      deepest = std::max(deepest, cache->depth(index));
    }
    return deepest;
  }

 private:
  support::failing_page_source pages_;

 public:
  const std::unique_ptr<bin[]> bins = make_classes();
  depot below;
  memory_budget room{memory_budget::unlimited};
  const std::unique_ptr<thread_cache> cache;
};

TEST(thread_cache_test, StartsEmptyAndFindsNothing) {
  cache_over_depot tested(1 << 20);
  std::byte* block = nullptr;
  for (std::size_t index = 0; index <= class_count; ++index) EXPECT_FALSE(tested.bins[index].pop(block));
  EXPECT_FALSE(tested.cache->flush());
  EXPECT_EQ(tested.cached_bytes(), 0U);
}

TEST(thread_cache_test, TheClassOfOversizeBuffersHoldsNothing) {
  cache_over_depot tested(1 << 20);
  EXPECT_FALSE(tested.bins[class_count].push(nullptr));
}

TEST(thread_cache_test, HandsOutTheNewestFirst) {
  cache_over_depot tested(1 << 20);
  std::byte* const first = tested.get(medium);
  std::byte* const second = tested.get(medium);
  tested.put(medium, first);
  tested.put(medium, second);
  EXPECT_EQ(tested.get(medium), second);
  EXPECT_EQ(tested.get(medium), first);
  tested.put(medium, first);
  tested.put(medium, second);
}

TEST(thread_cache_test, CountsWhatItHandsOut) {
  cache_over_depot tested(1 << 20);
  tested.put(medium, tested.get(medium));
  tested.put(medium, tested.get(medium));
  tested.put(medium, tested.get(medium));
  EXPECT_EQ(tested.cache->acquired(medium), 3U);
  EXPECT_EQ(tested.cache->misses(medium), 1U);
  EXPECT_EQ(tested.cache->acquired(0), 0U);
}

TEST(thread_cache_test, RefillsHalfItsRoomAndOneForTheCaller) {
  cache_over_depot tested(1 << 20);
  const std::uint64_t room = tested.fill(medium);
  ASSERT_GE(room, 2U);
  tested.cache->flush();
  EXPECT_EQ(tested.below.blocks_out(medium), 0U);

  std::vector<std::byte*> held;
  std::uint64_t batch_max = 0;
  for (int count = 0; count < 2000; ++count) {
    const bool refilled = tested.cache->depth(medium) == 0;
    const std::uint64_t out_before = tested.below.blocks_out(medium);
    held.push_back(tested.get(medium));
    const std::uint64_t fetched = tested.below.blocks_out(medium) - out_before;
    EXPECT_EQ(fetched != 0, refilled);
    if (refilled) {
      EXPECT_EQ(fetched, tested.cache->depth(medium) + 1);
    }
    batch_max = std::max(batch_max, fetched);
  }
  EXPECT_EQ(batch_max, room / 2 + 1);
  for (std::byte* const block : held) tested.put(medium, block);
}

TEST(thread_cache_test, FlushesTheOlderHalfOfAFullBin) {
  cache_over_depot tested(1 << 20);
  const std::uint64_t room = tested.fill(medium);
  std::vector<std::byte*> held;
  for (std::uint64_t count = 0; count < 4 * room; ++count) held.push_back(tested.get(medium));

  // The bin has all the room it can get: when that is full, half of it goes at once.
  std::vector<std::byte*> expected;  // what must be in the bin, oldest first
  while (tested.cache->depth(medium) != 0) held.push_back(tested.get(medium));
  std::uint64_t flushes = 0;
  for (std::byte* const block : held) {
    const std::uint64_t out_before = tested.below.blocks_out(medium);
    const bool full = expected.size() == room;
    tested.put(medium, block);
    const std::uint64_t flushed = out_before - tested.below.blocks_out(medium);
    EXPECT_EQ(flushed, full ? (room + 1) / 2 : 0);
    expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(flushed));
    expected.push_back(block);
    ASSERT_EQ(tested.cache->depth(medium), expected.size());
    flushes += full ? 1U : 0U;
  }
  EXPECT_GE(flushes, 3U);
  std::vector<std::byte*> kept;
  for (; !expected.empty(); expected.pop_back()) {
    kept.push_back(tested.get(medium));
    EXPECT_EQ(kept.back(), expected.back());
  }
  for (std::byte* const block : kept) tested.put(medium, block);
}

TEST(thread_cache_test, WithoutRoomEverythingGoesThroughTheDepot) {
  cache_over_depot tested(0);
  for (std::size_t index = 0; index < class_count; ++index) {
    std::vector<std::byte*> held;
    for (std::uint64_t count = 1; count <= 50; ++count) {
      held.push_back(tested.get(index));
      EXPECT_EQ(tested.below.blocks_out(index), count);
    }
    for (std::uint64_t count = 50; count > 0; --count) {
      tested.put(index, held[count - 1]);
      EXPECT_EQ(tested.below.blocks_out(index), count - 1);
    }
    EXPECT_EQ(tested.cache->misses(index), 50U);
  }
  EXPECT_FALSE(tested.cache->flush());
}

TEST(thread_cache_test, ClassesLargerThanTheCapAreNotKept) {
  cache_over_depot tested(5000);
  tested.put(4, tested.get(4));
  EXPECT_EQ(tested.cache->depth(4), 0U);
  EXPECT_EQ(tested.below.blocks_out(4), 0U);
  tested.put(3, tested.get(3));
  EXPECT_EQ(tested.cache->depth(3), 1U);
}

TEST(thread_cache_test, FlushEmptiesEveryBin) {
  cache_over_depot tested(4 << 20);
  for (std::size_t index = 0; index < class_count; ++index) tested.put(index, tested.get(index));
  EXPECT_GT(tested.cached_bytes(), 0U);
  EXPECT_TRUE(tested.cache->flush());
  EXPECT_EQ(tested.cached_bytes(), 0U);
  for (std::size_t index = 0; index < class_count; ++index) EXPECT_EQ(tested.below.blocks_out(index), 0U);
}

TEST(thread_cache_test, ABudgetForOneBlockGivesOneBlock) {
  cache_over_depot tested(4096, sizes[medium]);
  std::byte* const only = tested.get(medium);
  EXPECT_EQ(tested.cache->take(medium).why, refusal::budget);
  tested.put(medium, only);
}

class thread_cache_cap_test : public ::testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(each, thread_cache_cap_test,
                         ::testing::Values(0, 1, 16, 99, 100, 4096, 10000, 100000, 1 << 20, (3 << 20) + 1),
                         ::testing::PrintToStringParamName());

TEST_P(thread_cache_cap_test, IsNeverExceededWhateverTheSizes) {
  support::seeded_random random(304);
  cache_over_depot tested(GetParam());
  std::array<std::vector<std::byte*>, class_count> held;
  std::uint64_t gets = 0;
  for (int step = 0; step < 30000; ++step) {
    // A class is favoured for a while, so that bins grow at the cost of others.
    const std::size_t index =
        random.one_in(4) ? random.between(0, class_count - 1) : static_cast<std::size_t>(step / 1000) % class_count;
    const std::size_t held_max = index < 4 ? 300 : 8;
    if (held[index].empty() || (held[index].size() < held_max && random.one_in(2))) {
      held[index].push_back(tested.get(index));
      ++gets;
    } else {
      tested.put(index, held[index].back());
      held[index].pop_back();
    }
    ASSERT_LE(tested.cached_bytes(), GetParam());
    ASSERT_EQ(tested.below.blocks_out(index), held[index].size() + tested.cache->depth(index));
  }
  std::uint64_t acquired = 0;
  for (std::size_t index = 0; index < class_count; ++index) {
    acquired += tested.cache->acquired(index);
    for (std::byte* const block : held[index]) tested.put(index, block);
  }
  EXPECT_EQ(acquired, gets);
  EXPECT_LE(tested.cached_bytes(), GetParam());
}

// A cache of another thread, which is not in the pool's code meanwhile.
class cache_of_a_thread {
 public:
  cache_of_a_thread() : thread_([this] { serve(); }) {
    ask([] {});
  }
  cache_of_a_thread(const cache_of_a_thread&) = delete;
  cache_of_a_thread& operator=(const cache_of_a_thread&) = delete;
  ~cache_of_a_thread() {
    ask([this] { done_ = true; });
    thread_.join();
  }

  // Runs `what` on the thread and waits for it.
  void ask(std::function<void()> what) {
    std::unique_lock lock(mutex_);
    what_ = std::move(what);
    changed_.notify_all();
    changed_.wait(lock, [&] { return what_ == nullptr; });
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (!done_) {
      changed_.wait(lock, [&] { return what_ != nullptr; });
      what_();
      what_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> what_;
  bool done_ = false;
  std::thread thread_;
};

TEST(thread_cache_reclaim_test, EmptiesTheCacheOfAThreadThatIsElsewhere) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  support::failing_page_source pages;
  const std::unique_ptr<bin[]> classes = make_classes();
  depot below(pages, memory_budget::unlimited, classes.get(), class_count, true);
  memory_budget room(memory_budget::unlimited);
  std::unique_ptr<thread_cache> cache;
  constexpr std::size_t slot = 3;
  cache_of_a_thread owner;
  const auto use = [&] {
    const thread_cache::taken first = cache->take(medium);
    const thread_cache::taken second = cache->take(medium);
    cache->put(medium, first.block);
    cache->put(medium, second.block);
  };
  owner.ask([&] {
    cache = thread_cache::make_of_thread(below, classes.get(), class_count, {.bytes_max = 1 << 20}, room, slot);
    EXPECT_EQ(slots_of_thread.to_bins[slot].load(), 0);
    use();
    EXPECT_NE(slots_of_thread.to_bins[slot].load(), 0);
  });
  EXPECT_GT(cache->depth(medium), 0U);
  EXPECT_FALSE(cache->reclaim(true)) << "it was used since the last look";
  EXPECT_TRUE(cache->reclaim(true));
  EXPECT_EQ(cache->depth(medium), 0U);
  EXPECT_EQ(below.blocks_out(medium), 0U);
  EXPECT_EQ(room.charged(), 0U);
  EXPECT_FALSE(cache->reclaim(false)) << "nothing is left";
  owner.ask([&] {
    EXPECT_EQ(slots_of_thread.to_bins[slot].load(), 0);
    use();
    EXPECT_NE(slots_of_thread.to_bins[slot].load(), 0) << "the owner opens it again";
  });
  EXPECT_TRUE(cache->reclaim(false));
  owner.ask([&] {
    cache->close();
    cache.reset();
  });
}

// An operation of the owner that another thread's reclaim() comes into: each order of the two is played by hand.
class thread_cache_doubt_test : public ::testing::Test {
 protected:
  thread_cache_doubt_test() {
    owner_.ask([this] {
      cache_ = thread_cache::make_of_thread(below_, classes_.get(), class_count, {.bytes_max = 1 << 20}, room_, place);
      std::array<std::byte*, 8> held{};
      for (std::byte*& each : held) each = cache_->take(medium).block;
      for (std::byte* const each : held) cache_->put(medium, each);
      out_ = below_.blocks_out(medium) - cache_->depth(medium);
      EXPECT_EQ(out_, 0U);
      EXPECT_GE(cache_->depth(medium), 2U);
      acquired_ = cache_->acquired(medium);
    });
  }
  ~thread_cache_doubt_test() override {
    owner_.ask([this] {
      cache_->close();
      cache_->flush();
      EXPECT_EQ(below_.blocks_out(medium), out_) << "no block is lost, and none is there twice";
      EXPECT_EQ(room_.charged(), 0U);
      EXPECT_TRUE(below_.check_invariants());
      cache_.reset();
    });
  }

  // Runs on the owner's thread: `first`, then reclaim() on this one, then `second`.
  void around_reclaim(const std::function<void()>& first, const std::function<void()>& second) {
    owner_.ask(first);
    EXPECT_TRUE(cache_->reclaim(false));
    EXPECT_EQ(cache_->depth(medium), 0U);
    owner_.ask(second);
  }

  bin& bin_of(const slot_look& slot) const { return slot.bin_of(classes_[medium].of); }

  static constexpr std::size_t place = 5;
  support::failing_page_source pages_;
  const std::unique_ptr<bin[]> classes_ = make_classes();
  depot below_{pages_, memory_budget::unlimited, classes_.get(), class_count, true};
  memory_budget room_{memory_budget::unlimited};
  std::unique_ptr<thread_cache> cache_;
  std::optional<slot_look> slot_;
  std::byte* block_ = nullptr;
  std::uint64_t out_ = 0;
  std::uint64_t acquired_ = 0;
  cache_of_a_thread owner_;  // ends first
};

TEST_F(thread_cache_doubt_test, ABlockPoppedBeforeTheReclaimIsTheOwners) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  around_reclaim(
      [this] {
        slot_.emplace(slot_offset(place));
        EXPECT_TRUE(bin_of(*slot_).pop(block_));
      },
      [this] {
        EXPECT_TRUE(slot_->in_doubt());
        EXPECT_TRUE(cache_->came_to_pass(medium));
        EXPECT_EQ(cache_->acquired(medium), acquired_ + 1);
        EXPECT_EQ(below_.blocks_out(medium), 1U);
        cache_->put(medium, block_);
      });
}

TEST_F(thread_cache_doubt_test, ABlockPoppedAfterTheReclaimIsNot) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  around_reclaim([this] { slot_.emplace(slot_offset(place)); },
                 [this] {
                   EXPECT_TRUE(bin_of(*slot_).pop(block_)) << "what it saw of the slot was open";
                   EXPECT_TRUE(slot_->in_doubt());
                   EXPECT_FALSE(cache_->came_to_pass(medium));
                   EXPECT_EQ(cache_->acquired(medium), acquired_);
                   EXPECT_EQ(cache_->depth(medium), 0U);
                 });
}

TEST_F(thread_cache_doubt_test, ABlockPushedBeforeTheReclaimHasGoneHome) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  around_reclaim(
      [this] {
        EXPECT_TRUE(bin_of(slot_look(slot_offset(place))).pop(block_));
        slot_.emplace(slot_offset(place));
        EXPECT_TRUE(bin_of(*slot_).push(block_));
      },
      [this] {
        EXPECT_TRUE(slot_->in_doubt());
        EXPECT_TRUE(cache_->came_to_pass(medium));
      });
}

TEST_F(thread_cache_doubt_test, ABlockPushedAfterTheReclaimIsStillInHand) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  around_reclaim(
      [this] {
        EXPECT_TRUE(bin_of(slot_look(slot_offset(place))).pop(block_));
        slot_.emplace(slot_offset(place));
      },
      [this] {
        EXPECT_TRUE(bin_of(*slot_).push(block_));
        EXPECT_TRUE(slot_->in_doubt());
        EXPECT_FALSE(cache_->came_to_pass(medium));
        EXPECT_EQ(below_.blocks_out(medium), 1U);
        cache_->put(medium, block_);
      });
}

TEST_F(thread_cache_doubt_test, InABinThatWasLeftAloneEverythingCounts) {
  if (!heavy_barrier()) GTEST_SKIP() << "no membarrier(2) here";
  constexpr std::size_t other = 3;
  owner_.ask([this] { cache_->put(other, cache_->take(other).block); });
  EXPECT_FALSE(cache_->reclaim(true)) << "all were used since the last look";
  owner_.ask([this] {
    std::byte* const block = cache_->take(medium).block;
    slot_.emplace(slot_offset(place));
    EXPECT_TRUE(bin_of(*slot_).push(block));  // so this class is in use
  });
  EXPECT_TRUE(cache_->reclaim(true)) << "the other class lay idle";
  EXPECT_EQ(cache_->depth(other), 0U);
  EXPECT_NE(cache_->depth(medium), 0U);
  owner_.ask([this] {
    EXPECT_TRUE(bin_of(*slot_).pop(block_));
    EXPECT_TRUE(slot_->in_doubt());
    EXPECT_TRUE(cache_->came_to_pass(medium));
    cache_->put(medium, block_);
  });
}

}  // namespace
}  // namespace slabbuf::detail
