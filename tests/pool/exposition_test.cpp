// SPDX-License-Identifier: MIT
#include <slabbuf/pool/exposition.hpp>

#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace slabbuf {
namespace {

// A pool with something in every number.
std::unique_ptr<pool_stats> used_stats(std::size_t budget_bytes_max = memory_budget::unlimited) {
  local_pool pool({.budget_bytes_max = budget_bytes_max});
  const buffer small = pool.acquire(100);
  const buffer large = pool.acquire(5000);
  const buffer oversize = pool.acquire((1 << 20) + 1);
  pool.acquire(100).release();
  static_cast<void>(pool.try_acquire(SIZE_MAX));
  return std::make_unique<pool_stats>(pool.stats());
}

TEST(exposition_test, PrometheusDescribesEachMetricOnceAndThenItsSamples) {
  const auto one = used_stats(8 << 20);
  const auto two = used_stats();
  const std::array<named_stats, 2> pools{{{"one", one.get()}, {"two", two.get()}}};
  const std::string page = to_prometheus(pools);
  ASSERT_EQ(page.back(), '\n');

  const std::regex sample(R"re((slabbuf_pool_[a-z_]+)[{]pool="(one|two)"(,class="[0-9]+")?[}] [0-9]+)re");
  std::set<std::string> described;
  std::set<std::string> samples;
  std::string current;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash;
    std::string keyword;
    std::string name;
    if (line[0] == '#') {
      words >> hash >> keyword >> name;
      if (keyword == "HELP") {
        EXPECT_TRUE(described.insert(name).second) << name << " twice";
        current = name;
      } else {
        EXPECT_EQ(keyword, "TYPE");
        EXPECT_EQ(name, current);
        std::string type;
        words >> type;
        EXPECT_EQ(type == "counter", name.ends_with("_total")) << line;
      }
      continue;
    }
    std::smatch parts;
    ASSERT_TRUE(std::regex_match(line, parts, sample)) << line;
    EXPECT_EQ(parts[1], current) << "samples stay with their metric";
    EXPECT_TRUE(samples.insert(line.substr(0, line.find(' '))).second) << line;
  }
  EXPECT_NE(page.find("slabbuf_pool_acquired_total{pool=\"one\"} 4\n"), std::string::npos);
  EXPECT_NE(page.find("slabbuf_pool_refused_total{pool=\"two\"} 1\n"), std::string::npos);
  EXPECT_NE(page.find("slabbuf_pool_class_acquired_total{pool=\"one\",class=\"128\"} 2\n"), std::string::npos);
  EXPECT_NE(page.find("slabbuf_pool_budget_bytes_max{pool=\"one\"} 8388608\n"), std::string::npos);
  EXPECT_EQ(page.find("slabbuf_pool_budget_bytes_max{pool=\"two\"}"), std::string::npos) << "there is none";
}

TEST(exposition_test, LabelsAreEscaped) {
  const auto stats = used_stats();
  const std::array<named_stats, 1> pools{{{"a\"b\\c\nd", stats.get()}}};
  EXPECT_NE(to_prometheus(pools).find("{pool=\"a\\\"b\\\\c\\nd\"} "), std::string::npos);
}

TEST(exposition_test, JsonHasEveryFieldByItsName) {
  const std::string object = to_json(*used_stats());
  EXPECT_EQ(object.front(), '{');
  EXPECT_EQ(object.back(), '}');
  EXPECT_NE(object.find("\"acquired\":4,"), std::string::npos) << object;
  EXPECT_NE(object.find("\"oversize_in_use\":1,"), std::string::npos) << object;
  EXPECT_NE(object.find("\"budget_bytes_max\":null,"), std::string::npos) << object;
  EXPECT_NE(object.find("\"classes\":[{\"size\":128,\"acquired\":2,"), std::string::npos) << object;
  EXPECT_EQ(std::count(object.begin(), object.end(), '{'), 3) << "the pool and the two classes that were used";
  EXPECT_EQ(std::count(object.begin(), object.end(), '{'), std::count(object.begin(), object.end(), '}'));
  EXPECT_NE(to_json(*used_stats(8 << 20)).find("\"budget_bytes_max\":8388608,"), std::string::npos);
}

TEST(exposition_test, TextIsAScreenful) {
  const std::string text = to_text(*used_stats(8 << 20));
  EXPECT_NE(text.find("in use   3 buffers"), std::string::npos) << text;
  EXPECT_NE(text.find("budget 8388608"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7 + 2) << "totals, a heading, two classes";
  EXPECT_NE(text.find(" cached high water "), std::string::npos) << text;
  EXPECT_NE(to_text(*used_stats()).find("no budget"), std::string::npos);
}

}  // namespace
}  // namespace slabbuf
