// SPDX-License-Identifier: MIT
// Prints what a program with a few pools, badly named, would show Prometheus: for a checker nobody here
// wrote.
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/exposition.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <array>
#include <cstdio>
#include <memory>
#include <vector>

namespace {

template <class Pool>
std::unique_ptr<slabbuf::pool_stats> stats_of_a_used_pool(const slabbuf::pool_options& options) {
  Pool pool(options);
  std::vector<slabbuf::buffer> held;
  for (const unsigned size : {1U, 100U, 5000U, 70'000U, 3U << 20}) {
    for (int count = 0; count < 3; ++count) held.push_back(pool.try_acquire(size));
    held.pop_back();
  }
  return std::make_unique<slabbuf::pool_stats>(pool.stats());
}

}  // namespace

int main() {
  const auto limited = stats_of_a_used_pool<slabbuf::concurrent_pool>({.budget_bytes_max = 4 << 20});
  const auto unlimited = stats_of_a_used_pool<slabbuf::local_pool>({});
  const auto unused = std::make_unique<slabbuf::pool_stats>(slabbuf::local_pool().stats());
  const std::array<slabbuf::named_stats, 5> pools{{{"plain", limited.get()},
                                                   {"say \"hello\"\nC:\\pool\\", unlimited.get()},
                                                   {"", unlimited.get()},
                                                   {"{a=\"b\"} 1 # \xc3\xa9\t\xe2\x82\xac", limited.get()},
                                                   {"unused", unused.get()}}};
  std::fputs(slabbuf::to_prometheus(pools).c_str(), stdout);
}
