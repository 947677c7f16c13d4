// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/timing_wheel.hpp>

#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

namespace slabbuf::net::detail {
namespace {

using entry = timing_wheel::entry;

constexpr auto nobody = [](entry&) { FAIL() << "nobody's deadline"; };

// Ticks until it expires; 0 when it does not within that many.
std::uint32_t ticks_until_expired(timing_wheel& wheel, const entry& watched, std::uint32_t limit) {
  for (std::uint32_t tick = 1; tick <= limit; ++tick) {
    bool expired = false;
    wheel.advance([&](entry& each) { expired = expired || &each == &watched; });
    if (expired) return tick;
  }
  return 0;
}

TEST(timing_wheel_test, ExpiresAtItsTickAndOnce) {
  for (const std::uint32_t ticks : {1U, 2U, 255U, 256U, 257U, 600U, 100'000U}) {
    timing_wheel wheel;
    entry deadline;
    wheel.arm(deadline, ticks);
    EXPECT_TRUE(timing_wheel::is_armed(deadline));
    EXPECT_EQ(ticks_until_expired(wheel, deadline, ticks + 1), ticks);
    EXPECT_FALSE(timing_wheel::is_armed(deadline));
    EXPECT_EQ(ticks_until_expired(wheel, deadline, 600), 0U);
  }
}

TEST(timing_wheel_test, NoTicksAreOne) {
  timing_wheel wheel;
  entry deadline;
  wheel.arm(deadline, 0);
  EXPECT_EQ(ticks_until_expired(wheel, deadline, 3), 1U);
}

TEST(timing_wheel_test, MoreThanTheMostAreTheMost) {
  timing_wheel wheel;
  entry deadline;
  wheel.arm(deadline, UINT32_MAX);
  EXPECT_EQ(ticks_until_expired(wheel, deadline, 2000), 0U);
  EXPECT_TRUE(timing_wheel::is_armed(deadline));
}

TEST(timing_wheel_test, TicksGoOnAsLongAsAnythingIsArmed) {
  timing_wheel wheel;
  EXPECT_FALSE(wheel.advance(nobody));
  entry deadline;
  wheel.arm(deadline, 2);
  EXPECT_TRUE(wheel.advance(nobody));
  EXPECT_FALSE(wheel.advance([](entry&) {}));
  wheel.arm(deadline, 2);
  wheel.disarm(deadline);
  EXPECT_FALSE(wheel.advance(nobody));
  EXPECT_TRUE(deadline.linked()) << "it leaves when its slot is looked at";
  EXPECT_FALSE(wheel.advance(nobody));
  EXPECT_FALSE(deadline.linked());
  wheel.arm(deadline, 300);
  wheel.disarm(deadline);
  wheel.disarm(deadline);
  EXPECT_FALSE(wheel.advance(nobody));
  wheel.arm(deadline, 2);  // where it was linked, it would be looked at too late
  EXPECT_EQ(ticks_until_expired(wheel, deadline, 400), 2U);
}

TEST(timing_wheel_test, ALaterDeadlineStaysWhereItIsAndAnEarlierOneMoves) {
  timing_wheel wheel;
  entry deadline;
  wheel.arm(deadline, 10);
  wheel.arm(deadline, 300);
  EXPECT_EQ(ticks_until_expired(wheel, deadline, 400), 300U);
  wheel.arm(deadline, 300);
  wheel.arm(deadline, 10);
  EXPECT_EQ(ticks_until_expired(wheel, deadline, 400), 10U);
}

TEST(timing_wheel_test, WhatExpiresMayArmDisarmAndDestroyAnyOther) {
  timing_wheel wheel;
  entry first;
  entry again;
  auto dies = std::make_unique<entry>();
  entry disarmed;
  for (entry* const each : {&first, &again, dies.get(), &disarmed}) wheel.arm(*each, 1);
  std::vector<entry*> expired;
  wheel.advance([&](entry& each) {
    expired.push_back(&each);
    if (&each != &first) return;
    wheel.arm(first, 1);
    wheel.arm(again, 2);
    wheel.disarm(*dies);
    dies.reset();
    wheel.disarm(disarmed);
  });
  EXPECT_EQ(expired, std::vector<entry*>{&first});
  wheel.advance([&](entry& each) { EXPECT_EQ(&each, &first); });
  wheel.advance([&](entry& each) { EXPECT_EQ(&each, &again); });
}

TEST(timing_wheel_test, OneThatThrowsCostsTheOthersATick) {
  timing_wheel wheel;
  std::vector<entry> all(3);
  for (entry& each : all) wheel.arm(each, 1);
  EXPECT_THROW(wheel.advance([](entry&) { throw std::runtime_error("thrown"); }), std::runtime_error);
  int expired = 0;
  wheel.advance([&](entry&) { ++expired; });
  EXPECT_EQ(expired, 2);
}

TEST(timing_wheel_test, VisitsWhatIsArmed) {
  timing_wheel wheel;
  std::vector<std::unique_ptr<entry>> all;
  for (std::uint32_t index = 0; index < 30; ++index) {
    all.push_back(std::make_unique<entry>());
    wheel.arm(*all.back(), 10 + 50 * index);
  }
  wheel.disarm(*all[7]);
  std::size_t visited = 0;
  wheel.for_each([&](entry& each) {
    EXPECT_NE(&each, all[7].get());
    ++visited;
  });
  EXPECT_EQ(visited, all.size() - 1);
  EXPECT_EQ(ticks_until_expired(wheel, *all[0], 20), 10U) << "a visit changes nothing";
  wheel.for_each([&](entry& each) { wheel.arm(each, 1); });
  std::size_t expired = 0;
  wheel.advance([&](entry&) { ++expired; });
  EXPECT_EQ(expired, all.size() - 2);
}

TEST(timing_wheel_test, AVisitorMayDestroyEverything) {
  timing_wheel wheel;
  std::vector<std::unique_ptr<entry>> all;
  for (std::uint32_t index = 0; index < 30; ++index) {
    all.push_back(std::make_unique<entry>());
    wheel.arm(*all.back(), 1 + index);
  }
  wheel.for_each([&](entry&) {
    for (const auto& each : all) wheel.disarm(*each);
    all.clear();
  });
  EXPECT_FALSE(wheel.advance(nobody));
}

TEST(timing_wheel_test, EntriesOutliveTheirWheel) {
  entry deadline;
  {
    timing_wheel wheel;
    wheel.arm(deadline, 5);
  }
  EXPECT_FALSE(deadline.linked());
  EXPECT_FALSE(timing_wheel::is_armed(deadline)) << "nobody would count it";
}

// Against the definition: an entry expires at the tick it was armed for last, unless it was disarmed since.
TEST(timing_wheel_test, AgreesWithItsDefinition) {
  timing_wheel wheel;
  constexpr std::size_t count = 50;
  std::vector<entry> all(count);
  std::vector<std::optional<std::uint32_t>> due(count);
  support::seeded_random random(12345);
  for (std::uint32_t now = 1; now <= 5000; ++now) {
    std::vector<const entry*> expired;
    wheel.advance([&](entry& each) { expired.push_back(&each); });
    for (std::size_t index = 0; index < count; ++index) {
      const bool expected = due[index] == now;
      ASSERT_EQ(std::count(expired.begin(), expired.end(), &all[index]), expected ? 1 : 0) << "tick " << now;
      if (expected) due[index].reset();
      ASSERT_EQ(timing_wheel::is_armed(all[index]), due[index].has_value());
      switch (random.between(0, 19)) {
        case 0: {
          const auto ticks = static_cast<std::uint32_t>(random.between(1, random.one_in(2) ? 20 : 700));
          wheel.arm(all[index], ticks);
          due[index] = now + ticks;
          break;
        }
        case 1:
          wheel.disarm(all[index]);
          due[index].reset();
          break;
        default: break;
      }
    }
  }
}

}  // namespace
}  // namespace slabbuf::net::detail
