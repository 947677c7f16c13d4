// SPDX-License-Identifier: MIT
// What a write has left to send: the same bytes whatever owns them, in parts of any size; and all of it goes back.
#include <slabbuf/net/detail/write_source.hpp>

#include "support/chain_of_blocks.hpp"

#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace slabbuf {
namespace {

using net::detail::gather_max;

// Sends `step_bytes` a call of what is gathered `bytes_max` a call.
template <class Source>
std::string sent(Source source, std::size_t bytes_max, std::size_t step_bytes) {
  std::string all;
  while (!source.empty()) {
    ::iovec parts[gather_max];
    const std::size_t count = source.gather(parts, bytes_max);
    std::string gathered;
    for (std::size_t index = 0; index < count; ++index)
      gathered.append(static_cast<const char*>(parts[index].iov_base), parts[index].iov_len);
    EXPECT_FALSE(gathered.empty());
    EXPECT_LE(gathered.size(), bytes_max);
    gathered.resize(std::min(gathered.size(), step_bytes));
    all += gathered;
    source.consume(gathered.size());
  }
  ::iovec parts[gather_max];
  EXPECT_EQ(source.gather(parts, bytes_max), 0U);
  return all;
}

class write_source_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  ~write_source_test() override { EXPECT_EQ(pool_.stats().in_use, 0U); }
  local_pool pool_;
};
INSTANTIATE_TEST_SUITE_P(step_bytes, write_source_test, ::testing::Values(1, 2, 7, 64, 1000));

TEST_P(write_source_test, SendsEveryByteOnceInOrder) {
  const std::string text = "what is sent arrives whole, wherever it was cut";
  for (const std::size_t bytes_max : {std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
    EXPECT_EQ(sent(net::detail::buffer_source(support::buffer_of(pool_, text)), bytes_max, GetParam()), text);
    shared_slice slice(support::buffer_of(pool_, "<<" + text));
    slice.trim_front(2);
    EXPECT_EQ(sent(net::detail::slice_source(std::move(slice)), bytes_max, GetParam()), text);
    std::string in_blocks;
    buffer_chain chain = support::chain_of_blocks(pool_, 2 * gather_max + 1, 9, in_blocks);
    EXPECT_EQ(sent(net::detail::chain_source(std::move(chain)), bytes_max, GetParam()), in_blocks);
  }
}

TEST_F(write_source_test, GathersAsManyPartsAsACallTakes) {
  std::string text;
  net::detail::chain_source source(support::chain_of_blocks(pool_, gather_max + 1, 9, text));
  ::iovec parts[gather_max];
  EXPECT_EQ(source.gather(parts, SIZE_MAX), gather_max);
}

TEST_F(write_source_test, GivesEverythingBackBeforeItIsDestroyed) {
  net::detail::buffer_source one(support::buffer_of(pool_, "one"));
  net::detail::slice_source slice{shared_slice(support::buffer_of(pool_, "slice"))};
  std::string text;
  net::detail::chain_source chain(support::chain_of_blocks(pool_, 100, 9, text));
  one.consume(1);
  one.release();
  slice.release();
  chain.release();
  EXPECT_EQ(pool_.stats().in_use, 0U);
  EXPECT_TRUE(one.empty() && slice.empty() && chain.empty());
}

}  // namespace
}  // namespace slabbuf
