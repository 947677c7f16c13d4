// SPDX-License-Identifier: MIT
// The list of pools for typed tests of what they have in common, and shorthands for their options.
#pragma once

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <concepts>
#include <cstddef>
#include <string>

namespace slabbuf::support {

using both_pools = ::testing::Types<local_pool, concurrent_pool>;

struct pool_name {
  template <class Pool>
  static std::string GetName(int) {
    return std::same_as<Pool, local_pool> ? "local_pool" : "concurrent_pool";
  }
};

inline pool_options with_budget(std::size_t bytes_max) {
  pool_options options;
  options.budget_bytes_max = bytes_max;
  return options;
}

inline pool_options with_zeroing(zeroing policy) {
  pool_options options;
  options.zero = policy;
  return options;
}

inline pool_options with_pages(page_source& pages) {
  pool_options options;
  options.pages = &pages;
  return options;
}

}  // namespace slabbuf::support
