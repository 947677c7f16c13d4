// SPDX-License-Identifier: MIT
// Chains read from and written to files at once, as Asio on an io_uring does it.
#include <slabbuf/net/chain_view.hpp>

#include <slabbuf/net/dynamic_chain.hpp>
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/random_access_file.hpp>
#include <asio/read_at.hpp>
#include <asio/write_at.hpp>

#include <cstddef>
#include <string>

#include "support/chain_of_blocks.hpp"
#include "support/memory_file.hpp"

namespace slabbuf {
namespace {

using net::chain_view;
using net::const_chain_view;
using file = asio::basic_random_access_file<asio::io_context::executor_type>;

class chain_view_file_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  local_pool pool_;
  std::string expected_;
  buffer_chain chain_ = support::chain_of_blocks(pool_, GetParam(), 100, expected_);
  asio::io_context context_;
};
INSTANTIATE_TEST_SUITE_P(blocks, chain_view_file_test, ::testing::Values(0, 1, 2, 16, 17, 64, 65, 1000),
                         [](const auto& each) { return std::to_string(each.param); });

TEST_P(chain_view_file_test, IsWrittenWhereItBelongs) {
  const support::memory_file there("......");
  file to(context_, there.duplicate());
  EXPECT_EQ(asio::write_at(to, 3, const_chain_view(chain_)), expected_.size());
  std::size_t written = 0;
  asio::async_write_at(to, 3 + expected_.size(), const_chain_view(chain_), [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec) << ec.message();
    written = count;
  });
  context_.run();
  EXPECT_EQ(written, expected_.size());
  if (!expected_.empty()) {
    EXPECT_EQ(there.content(), "..." + expected_ + expected_);
  }
}

TEST_P(chain_view_file_test, IsReadInto) {
  std::string fresh(expected_.size(), '\0');
  for (std::size_t index = 0; index < fresh.size(); ++index) fresh[index] = static_cast<char>('A' + index % 26);
  const support::memory_file there("..." + fresh + fresh);
  file from(context_, there.duplicate());
  for (const bool at_once : {true, false}) {
    buffer_chain into = support::chain_of_blocks(pool_, GetParam(), 100, expected_);
    std::size_t received = 0;
    if (at_once) {
      received = asio::read_at(from, 3, chain_view(into));
    } else {
      asio::async_read_at(from, 3 + fresh.size(), chain_view(into), [&](asio::error_code ec, std::size_t count) {
        EXPECT_FALSE(ec) << ec.message();
        received = count;
      });
      context_.run();
    }
    EXPECT_EQ(received, fresh.size());
    EXPECT_EQ(support::text_of(into), fresh);
  }
}

}  // namespace
}  // namespace slabbuf
