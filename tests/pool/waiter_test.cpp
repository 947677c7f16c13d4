// SPDX-License-Identifier: MIT
// First come, first served, whoever leaves in between. (What wakes whom: net/async_acquire_test.cpp.)
#include <slabbuf/pool/detail/waiter.hpp>

#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <list>

namespace slabbuf {
namespace {

using detail::waiter;
using detail::waiting_line;

TEST(waiting_line_test, IsEmptyAtFirst) { EXPECT_EQ(waiting_line().first(), nullptr); }

// Against a list: anybody may join at the end and leave from anywhere.
TEST(waiting_line_test, KeepsTheOrderWhoeverLeaves) {
  support::seeded_random random(2);
  std::array<waiter, 8> all;
  waiting_line line;
  std::list<waiter*> expected;
  for (int step = 0; step < 10'000; ++step) {
    waiter& one = all[random.between(0, all.size() - 1)];
    if (one.in_line) {
      line.remove(one);
      expected.remove(&one);
    } else {
      line.push_back(one);
      expected.push_back(&one);
    }
    const waiter* at = line.first();
    for (const waiter* const each : expected) {
      ASSERT_EQ(at, each);
      ASSERT_TRUE(at->in_line);
      at = at->next;
    }
    ASSERT_EQ(at, nullptr);
    ASSERT_EQ(std::count_if(all.begin(), all.end(), [](const waiter& each) { return each.in_line; }),
              static_cast<std::ptrdiff_t>(expected.size()));
  }
}

}  // namespace
}  // namespace slabbuf
