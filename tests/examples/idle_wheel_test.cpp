// SPDX-License-Identifier: MIT
#include "common/idle_wheel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace slabbuf::examples {
namespace {

struct connection : idle_wheel::entry {
  std::uint32_t idle_ticks = 0;
};

constexpr std::uint32_t timeout = idle_wheel::ticks_per_timeout;

TEST(IdleWheel, ExpiresAfterATimeoutAndOneTick) {
  idle_wheel wheel;
  connection idle;
  wheel.add(idle);
  for (std::uint32_t tick = 1; tick <= timeout; ++tick) wheel.advance([&](idle_wheel::entry&) { FAIL() << tick; });
  int expired = 0;
  wheel.advance([&](idle_wheel::entry& each) {
    EXPECT_EQ(&each, &idle);
    ++expired;
  });
  EXPECT_EQ(expired, 1);
}

TEST(IdleWheel, ActivityPutsItOff) {
  idle_wheel wheel;
  connection busy;
  wheel.add(busy);
  for (std::uint32_t tick = 0; tick < 10 * timeout; ++tick) {
    wheel.advance([&](idle_wheel::entry&) { FAIL() << tick; });
    if (tick % (timeout - 1) == 0) wheel.touch(busy);
  }
}

TEST(IdleWheel, KeepsAskingUntilTheEntryIsGone) {
  idle_wheel wheel;
  auto idle = std::make_unique<connection>();
  wheel.add(*idle);
  int asked = 0;
  for (std::uint32_t tick = 0; tick < timeout + 3; ++tick) wheel.advance([&](idle_wheel::entry&) { ++asked; });
  EXPECT_EQ(asked, 3);
  idle.reset();
  wheel.advance([&](idle_wheel::entry&) { FAIL(); });
}

TEST(IdleWheel, MayDestroyWhatExpires) {
  idle_wheel wheel;
  std::vector<std::unique_ptr<connection>> all;
  for (int index = 0; index < 10; ++index) {
    all.push_back(std::make_unique<connection>());
    wheel.add(*all.back());
  }
  const auto destroy = [&](idle_wheel::entry& expired) {
    std::erase_if(all, [&](const auto& each) { return each.get() == &expired; });
  };
  for (std::uint32_t tick = 0; tick <= timeout; ++tick) wheel.advance(destroy);
  EXPECT_TRUE(all.empty());
}

TEST(IdleWheel, VisitsEveryEntry) {
  idle_wheel wheel;
  std::vector<std::unique_ptr<connection>> all;
  for (int index = 0; index < 30; ++index) {
    all.push_back(std::make_unique<connection>());
    wheel.add(*all.back());
    wheel.advance([](idle_wheel::entry&) {});
  }
  std::size_t visited = 0;
  wheel.for_each([&](idle_wheel::entry&) { ++visited; });
  EXPECT_EQ(visited, all.size());
  wheel.for_each(
      [&](idle_wheel::entry& each) { std::erase_if(all, [&](const auto& owner) { return owner.get() == &each; }); });
  EXPECT_TRUE(all.empty());
}

// Against the definition, for random activity: asked at a tick if and only if more than a timeout of
// ticks went by since the last activity.
TEST(IdleWheel, AgreesWithItsDefinition) {
  idle_wheel wheel;
  std::vector<std::unique_ptr<connection>> all;
  std::uint32_t random = 12345;
  const auto next_random = [&] { return random = random * 1664525 + 1013904223; };
  for (int index = 0; index < 50; ++index) {
    all.push_back(std::make_unique<connection>());
    wheel.add(*all.back());
  }
  for (int tick = 0; tick < 2000; ++tick) {
    for (const auto& each : all) ++each->idle_ticks;
    std::vector<idle_wheel::entry*> asked;
    wheel.advance([&](idle_wheel::entry& each) { asked.push_back(&each); });
    for (const auto& each : all) {
      const bool expected = each->idle_ticks > timeout;
      ASSERT_EQ(std::count(asked.begin(), asked.end(), each.get()), expected ? 1 : 0) << "tick " << tick;
      if ((next_random() >> 16) % 10 == 0) {
        wheel.touch(*each);
        each->idle_ticks = 0;
      }
    }
  }
}

}  // namespace
}  // namespace slabbuf::examples
