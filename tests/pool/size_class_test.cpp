// SPDX-License-Identifier: MIT
// The table is held against a walk through its sizes, for every size where that is affordable and
// around every boundary where it is not.
#include <slabbuf/pool/size_class.hpp>

#include "support/seeded_random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using sizes = std::vector<std::size_t>;

constexpr std::size_t npos = size_class_table::npos;

sizes doublings(std::size_t smallest, std::size_t largest) {
  sizes all;
  for (std::size_t size = smallest; size <= largest; size *= 2) all.push_back(size);
  return all;
}

sizes consecutive(std::size_t first, std::size_t step = 1) {
  sizes all(size_class_table::count_max);
  for (std::size_t index = 0; index < all.size(); ++index) all[index] = first + index * step;
  return all;
}

struct named_table {
  const char* name;
  sizes classes;
};

// What the test's name shows.
void PrintTo(const named_table& table, std::ostream* out) { *out << table.name; }

std::vector<named_table> tables() {
  return {{"Default", doublings(2, std::size_t{1} << 20)},
          {"Two", {1024, 4096}},
          {"One", {1}},
          {"OneOdd", {1000}},
          {"Odd", {3, 7, 100, 1000, 17408}},
          {"Dense", consecutive(1)},
          {"DenseAt1000", consecutive(1000)},
          {"DenseAround1MiB", consecutive((std::size_t{1} << 20) - 64)},
          {"DenseAfterSparse", {1, 2, 4096, 4097, 4098, 4099, 4100, 100000}},
          {"EverySixteenth", consecutive(16, 16)}};
}

class size_class_tables : public ::testing::TestWithParam<named_table> {
 protected:
  // What find() must say, by the definition: the first class that is not smaller.
  static std::size_t expected(std::size_t size) {
    const sizes& all = GetParam().classes;
    for (std::size_t index = 0; index < all.size(); ++index) {
      if (all[index] >= size) return index;
    }
    return npos;
  }

  static std::size_t expected_exact(std::size_t size) {
    const std::size_t index = expected(size);
    return index != npos && GetParam().classes[index] == size ? index : npos;
  }

  void expect_right(std::size_t size) const {
    const std::size_t index = expected(size);
    EXPECT_EQ(table_.find(size), index) << size;
    EXPECT_EQ(table_.find_exact(size), expected_exact(size)) << size;
    // The fast path may leave it to the search, but never answers wrong.
    const std::size_t fast = table_.index_for(size);
    EXPECT_TRUE(fast == index || fast == table_.count()) << size;
  }

  size_class_table table_{std::span<const std::size_t>(GetParam().classes)};
};

INSTANTIATE_TEST_SUITE_P(each, size_class_tables, ::testing::ValuesIn(tables()),
                         [](const auto& each) { return each.param.name; });

TEST_P(size_class_tables, AnswersRightAtEveryBoundary) {
  for (const std::size_t size : GetParam().classes) {
    expect_right(size - 1);
    expect_right(size);
    expect_right(size + 1);
  }
}

TEST(size_class_table_test, AnswersEverySizeOfTheUsualTablesFast) {
  const size_class_table usual;
  const size_class_table finer{64, 80, 96, 112, 128, 160, 512, 640, 1024, 1152, 2048, 2304, 17408, 65536, 73728};
  for (const size_class_table* const table : {&usual, &finer}) {
    for (std::size_t size = 0; size <= table->largest(); ++size) {
      ASSERT_EQ(table->index_for(size), table->find(size)) << size;
    }
  }
}

TEST_P(size_class_tables, AnswersRightForSizesBeyondTheLargest) {
  expect_right(0);
  expect_right(table_.largest() * 2);
  expect_right(SIZE_MAX / 2 + 1);
  // From SIZE_MAX - 7 on the biased size wraps around.
  for (std::size_t below = 8; below != 0; --below) expect_right(SIZE_MAX - below);
  expect_right(SIZE_MAX);
}

TEST_P(size_class_tables, AnswersRightForEverySizeUpTo2MiB) {
  std::size_t right = 0;  // follows the size, which only grows
  const sizes& all = GetParam().classes;
  for (std::size_t size = 0; size <= std::size_t{2} << 20; ++size) {
    while (right < all.size() && all[right] < size) ++right;
    const std::size_t index = right < all.size() ? right : npos;
    const std::size_t exact = right < all.size() && all[right] == size ? right : npos;
    if (table_.find(size) != index || table_.find_exact(size) != exact) {
      expect_right(size);
      FAIL() << "size " << size;
    }
  }
}

TEST_P(size_class_tables, KnowsItsSizes) {
  const sizes& all = GetParam().classes;
  ASSERT_EQ(table_.count(), all.size());
  EXPECT_EQ(table_.largest(), all.back());
  for (std::size_t index = 0; index < all.size(); ++index) EXPECT_EQ(table_.size_of(index), all[index]);
  EXPECT_THROW(static_cast<void>(table_.size_of(all.size())), std::out_of_range);
  EXPECT_THROW(static_cast<void>(table_.size_of(npos)), std::out_of_range);
}

TEST_P(size_class_tables, StaysRightWhenCopied) {
  const size_class_table copy = table_;
  table_ = size_class_table{5};
  for (const std::size_t size : GetParam().classes) EXPECT_EQ(copy.find(size), expected(size));
}

TEST(size_class_test, DefaultIsEveryPowerOfTwoFrom2ByteTo1MiB) {
  const size_class_table table;
  ASSERT_EQ(table.count(), 20U);
  for (std::size_t index = 0; index < 20; ++index) EXPECT_EQ(table.size_of(index), std::size_t{2} << index);
}

TEST(size_class_test, AcceptsTheLargestSizeAndTheMostClasses) {
  const size_class_table largest{size_class_table::size_max};
  EXPECT_EQ(largest.find(size_class_table::size_max), 0U);
  EXPECT_EQ(largest.find(size_class_table::size_max + 1), npos);
  EXPECT_EQ(size_class_table(std::span<const std::size_t>(consecutive(7))).count(), size_class_table::count_max);
}

TEST(size_class_test, RefusesInvalidTables) {
  sizes too_many(size_class_table::count_max + 1);
  std::iota(too_many.begin(), too_many.end(), std::size_t{1});
  const sizes invalid[] = {
      {}, {0}, {0, 1}, {2, 1}, {1, 2, 2}, {4, 8, 7}, {size_class_table::size_max + 1}, {1, SIZE_MAX}, too_many};
  for (const sizes& each : invalid) {
    SCOPED_TRACE(::testing::PrintToString(each));
    EXPECT_THROW(size_class_table{std::span<const std::size_t>(each)}, std::invalid_argument);
  }
  EXPECT_THROW((size_class_table{8, 4}), std::invalid_argument);
}

TEST(size_class_test, NamesTheFault) {
  const auto fault_of = [](const sizes& classes) -> std::string {
    try {
      size_class_table{std::span<const std::size_t>(classes)};
    } catch (const std::invalid_argument& fault) {
      return fault.what();
    }
    return "none";
  };
  EXPECT_NE(fault_of({}).find("no sizes"), std::string::npos);
  EXPECT_NE(fault_of({0}).find("zero"), std::string::npos);
  EXPECT_NE(fault_of({100, 99}).find("99 after 100"), std::string::npos);
  EXPECT_NE(fault_of({SIZE_MAX}).find(std::to_string(SIZE_MAX)), std::string::npos);
}

TEST(size_class_test, PowersOfTwoIncludeBothEnds) {
  const size_class_table table = size_class_table::powers_of_two(64, 1024);
  ASSERT_EQ(table.count(), 5U);
  EXPECT_EQ(table.size_of(0), 64U);
  EXPECT_EQ(table.largest(), 1024U);
  EXPECT_EQ(size_class_table::powers_of_two(8, 8).count(), 1U);
  EXPECT_EQ(size_class_table::powers_of_two(1, size_class_table::size_max).count(), 31U);
}

TEST(size_class_test, PowersOfTwoRefuseOtherEnds) {
  constexpr std::size_t too_large = size_class_table::size_max * 2;
  constexpr std::size_t invalid[][2] = {{0, 8}, {8, 0}, {0, 0}, {3, 8}, {8, 9}, {16, 8}, {8, too_large}};
  for (const auto& each : invalid) {
    EXPECT_THROW(static_cast<void>(size_class_table::powers_of_two(each[0], each[1])), std::invalid_argument)
        << each[0] << " .. " << each[1];
  }
}

using histogram = std::vector<size_class_table::size_count>;

std::uint64_t waste(const size_class_table& table, const histogram& requests) {
  std::uint64_t bytes = 0;
  for (const auto& each : requests) bytes += each.count * (table.size_of(table.find(each.size)) - each.size);
  return bytes;
}

// The least waste of any table of one size, of two and so on, by trying them all; with one more it is never more.
std::vector<std::uint64_t> least_waste(histogram requests) {
  std::sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
  std::vector<std::uint64_t> least(requests.size(), UINT64_MAX);
  // Each table has the largest size, or there would be no class for it.
  for (unsigned chosen = 1U << (requests.size() - 1); chosen < 1U << requests.size(); ++chosen) {
    std::uint64_t bytes = 0;
    std::size_t size_above = 0;
    for (std::size_t index = requests.size(); index-- > 0;) {
      if ((chosen >> index & 1) != 0) size_above = requests[index].size;
      bytes += requests[index].count * (size_above - requests[index].size);
    }
    std::uint64_t& so_far = least[static_cast<std::size_t>(std::popcount(chosen)) - 1];
    so_far = std::min(so_far, bytes);
  }
  return least;
}

TEST(size_class_tune_test, WastesTheLeastOfAllTables) {
  support::seeded_random random(402);
  for (int round = 0; round < 200; ++round) {
    std::set<std::size_t> distinct;
    for (std::size_t count = random.between(1, 9); count > 0; --count) distinct.insert(random.between(1, 3000));
    histogram requests;
    for (const std::size_t size : distinct) requests.push_back({size, random.between(1, 1000)});
    std::swap(requests.front(), requests.back());  // any order
    const std::vector<std::uint64_t> least = least_waste(requests);
    for (std::size_t classes_max = 1; classes_max <= 10; ++classes_max) {
      const size_class_table tuned = size_class_table::tune(requests, classes_max);
      EXPECT_LE(tuned.count(), classes_max);
      EXPECT_EQ(waste(tuned, requests), least[std::min(classes_max, least.size()) - 1]) << round << ", " << classes_max;
    }
  }
}

TEST(size_class_tune_test, AddsUpWhatIsNamedTwiceAndIgnoresWhatWasNeverAskedFor) {
  const histogram requests{{100, 5}, {300, 1}, {100, 5}, {200, 3}, {5000, 0}};
  const size_class_table tuned = size_class_table::tune(requests, 2);
  ASSERT_EQ(tuned.count(), 2U);
  EXPECT_EQ(tuned.size_of(0), 100U);
  EXPECT_EQ(tuned.size_of(1), 300U);
}

TEST(size_class_tune_test, TakesEverySizeThereIs) {
  histogram requests;
  for (std::size_t size = 1; size <= 100'000; ++size) requests.push_back({size, 1 + size % 7});
  const size_class_table tuned = size_class_table::tune(requests, size_class_table::count_max);
  EXPECT_EQ(tuned.count(), size_class_table::count_max);
  EXPECT_EQ(tuned.largest(), 100'000U);
}

TEST(size_class_tune_test, RefusesWhatMakesNoTable) {
  EXPECT_THROW(size_class_table::tune(histogram{}, 5), std::invalid_argument);
  EXPECT_THROW(size_class_table::tune(histogram{{100, 0}}, 5), std::invalid_argument);
  EXPECT_THROW(size_class_table::tune(histogram{{0, 1}, {100, 1}}, 1), std::invalid_argument);
  EXPECT_THROW(size_class_table::tune(histogram{{size_class_table::size_max + 1, 1}}, 5), std::invalid_argument);
  EXPECT_THROW(size_class_table::tune(histogram{{100, 1}}, 0), std::invalid_argument);
  EXPECT_THROW(size_class_table::tune(histogram{{100, 1}}, size_class_table::count_max + 1), std::invalid_argument);
}

}  // namespace
}  // namespace slabbuf
