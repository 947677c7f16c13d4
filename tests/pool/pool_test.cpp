// SPDX-License-Identifier: MIT
// One include gives a program everything: the types are named here and put to work together once.
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <string_view>
#include <utility>

namespace slabbuf {
namespace {

TEST(pool_test, OneIncludeIsEnoughForAWholeProgram) {
  pool_options options;
  options.size_classes = size_class_table::powers_of_two(64, 4096);
  options.zero = zeroing::dirty_extent;
  options.budget_bytes_max = 1 << 20;
  options.pages = &page_source::system();
  concurrent_pool pool(options);

  buffer message = pool.acquire(100);
  message.writable(1)[0] = std::byte{'!'};
  EXPECT_EQ(message.capacity(), 128U);
  EXPECT_FALSE(pool.try_acquire(std::size_t{2} << 20));
  const pool_stats now = pool.stats();
  EXPECT_EQ(now.in_use, 1U);
  EXPECT_EQ(now.refused, 1U);

  const shared_slice view = message.share();
  buffer_chain chain(std::move(message));
  EXPECT_EQ(chain.size(), view.size());
  EXPECT_FALSE(view.unique());

  local_pool local(options);
  local.put_buffer(local.get_buffer(100));
  EXPECT_EQ(local.stats().released, 1U);
  EXPECT_STREQ(to_string(misuse::double_put), "double_put");
  EXPECT_FALSE(std::string_view(SLABBUF_VERSION_STRING).empty());
}

}  // namespace
}  // namespace slabbuf
