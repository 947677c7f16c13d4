// SPDX-License-Identifier: MIT
// Chains of every shape as buffer sequences, for the parts of Asio that take one.
#include <slabbuf/net/chain_view.hpp>

#include <slabbuf/pool/pool.hpp>

// GCC 12 believes that Asio moves bytes within an empty vector.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif
#include <asio/buffered_read_stream.hpp>
#pragma GCC diagnostic pop

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/buffers_iterator.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "support/chain_of_blocks.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using net::chain_view;
using net::const_chain_view;

static_assert(std::random_access_iterator<chain_view::const_iterator>);
static_assert(!std::is_final_v<chain_view> && !std::is_final_v<const_chain_view>);

class chain_view_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  local_pool pool_;
  std::string expected_;
  buffer_chain chain_ = support::chain_of_blocks(pool_, GetParam(), 3, expected_);
};
// Asio gathers 16, 64 or all of them at a time.
INSTANTIATE_TEST_SUITE_P(blocks, chain_view_test, ::testing::Values(0, 1, 2, 16, 17, 64, 65, 1000),
                         [](const auto& each) { return std::to_string(each.param); });

TEST_P(chain_view_test, IsWhatItsChainIs) {
  const const_chain_view view(chain_);
  EXPECT_EQ(asio::buffer_size(view), expected_.size());
  EXPECT_EQ(view.size(), chain_.block_count());
  EXPECT_EQ(static_cast<std::size_t>(view.end() - view.begin()), view.size());
  std::string seen(expected_.size(), '?');
  EXPECT_EQ(asio::buffer_copy(asio::buffer(seen), view), expected_.size());
  EXPECT_EQ(seen, expected_);
  const auto begin = asio::buffers_begin(view);
  const auto end = asio::buffers_end(view);
  EXPECT_EQ(std::string(begin, end), expected_);
  if (!expected_.empty()) {
    EXPECT_EQ(begin[static_cast<std::ptrdiff_t>(expected_.size()) - 1], expected_.back());
  }
}

TEST_P(chain_view_test, IsWrittenAsItIs) {
  asio::io_context context;
  support::loopback_pair pair(context);
  EXPECT_EQ(asio::write(pair.near, const_chain_view(chain_)), expected_.size());
  std::size_t sent = 0;
  asio::async_write(pair.near, const_chain_view(chain_), [&](asio::error_code ec, std::size_t bytes) {
    EXPECT_FALSE(ec);
    sent = bytes;
  });
  context.run();
  EXPECT_EQ(sent, expected_.size());
  std::string seen(2 * expected_.size(), '?');
  asio::read(pair.far, asio::buffer(seen));
  EXPECT_EQ(seen, expected_ + expected_);
}

TEST_P(chain_view_test, IsReadInto) {
  asio::io_context context;
  support::loopback_pair pair(context);
  std::string fresh(expected_.size(), '\0');
  for (std::size_t index = 0; index < fresh.size(); ++index) fresh[index] = static_cast<char>('A' + index % 26);
  asio::write(pair.far, asio::buffer(fresh));
  std::size_t received = 0;
  asio::async_read(pair.near, chain_view(chain_), [&](asio::error_code ec, std::size_t bytes) {
    EXPECT_FALSE(ec);
    received = bytes;
  });
  context.run();
  EXPECT_EQ(received, fresh.size());
  std::string seen(fresh.size(), '?');
  asio::buffer_copy(asio::buffer(seen), const_chain_view(chain_));
  EXPECT_EQ(seen, fresh);
}

TEST_P(chain_view_test, IsReadIntoThroughABufferedStream) {
  asio::io_context context;
  support::loopback_pair pair(context);
  const std::string fresh(expected_.size(), 'z');
  asio::write(pair.far, asio::buffer(fresh));
  asio::buffered_read_stream<support::loopback_pair::socket&> stream(pair.near);
  EXPECT_EQ(asio::read(stream, chain_view(chain_)), fresh.size());
  std::string seen(fresh.size(), '?');
  asio::buffer_copy(asio::buffer(seen), const_chain_view(chain_));
  EXPECT_EQ(seen, fresh);
}

// What was read into blocks is gone when the next holder comes.
TEST(chain_view_written_test, CountsAsWritten) {
  local_pool pool;
  {
    buffer_chain chain{pool.acquire(100)};
    for (const asio::mutable_buffer each : chain_view(chain)) std::memset(each.data(), 0xff, each.size());
  }
  buffer next = pool.acquire(100);
  const std::span<std::byte> all = next.prepare();
  EXPECT_TRUE(std::all_of(all.begin(), all.end(), [](std::byte each) { return each == std::byte{0}; }));
}

TEST(chain_view_iterator_test, GoesWhereItIsSent) {
  local_pool pool;
  std::string expected;
  const buffer_chain chain = support::chain_of_blocks(pool, 10, 3, expected);
  const const_chain_view view(chain);
  auto at = view.begin();
  EXPECT_EQ((at + 3) - at, 3);
  EXPECT_EQ((*(3 + at)).size(), view[3].size());
  at += 5;
  at -= 2;
  EXPECT_EQ((*at).data(), view[3].data());
  EXPECT_EQ((at++)[1].data(), view[4].data());
  EXPECT_EQ((at--)[0].data(), view[4].data());
  EXPECT_EQ((*++at).data(), view[4].data());
  EXPECT_EQ((*--at).data(), view[3].data());
  EXPECT_LT(view.begin(), view.end());
  EXPECT_EQ(std::prev(view.end(), 10), view.begin());
}

}  // namespace
}  // namespace slabbuf
