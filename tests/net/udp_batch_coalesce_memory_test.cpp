// SPDX-License-Identifier: MIT
// Where memory ends while datagrams that came together are received, kept and copied: what has no block stays in the
// socket, and what has one stays whole.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/failing_page_source.hpp"
#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

class UdpBatchCoalesceMemory : public support::udp_joined_fixture {
 protected:
  // So many messages of ten datagrams; all of these.
  std::vector<std::string> send_messages(std::size_t count) {
    std::vector<std::string> all;
    for (std::size_t index = 0; index < count; ++index) {
      const std::vector<std::string> texts = numbered(std::to_string(index) + " ", 10, 200);
      send_together(texts);
      all = all_of(std::move(all), texts);
    }
    return all;
  }
  static std::string_view view_of(const shared_slice& slice) {
    return {reinterpret_cast<const char*>(slice.data()), slice.size()};
  }
};

TEST_F(UdpBatchCoalesceMemory, ABudgetThatEndsAmongMessagesLeavesTheOthersInTheSocketWhole) {
  const auto expect_all_in_turn = [&](auto&& tight) {
    net::udp_batch mine(tight, {.coalesce = true});
    receive_nothing(mine);
    const std::vector<std::string> texts = send_messages(5);
    std::vector<std::string> got;
    for (const std::size_t count : {2U, 2U, 1U}) {
      receive(mine);
      EXPECT_FALSE(result->ec);
      ASSERT_EQ(result->count, count);
      EXPECT_EQ(tight.stats().in_use, count);
      got = all_of(std::move(got), datagrams_of(mine));
      EXPECT_EQ(mine.stats().received_coalesced, got.size());
    }
    EXPECT_EQ(got, texts);
    EXPECT_EQ(pair.near.available(), 0U);
    mine.clear();
    EXPECT_EQ(tight.stats().in_use, 0U);
  };
  expect_all_in_turn(concurrent_pool({.budget_bytes_max = 2 * block_bytes}));
  expect_all_in_turn(local_pool({.budget_bytes_max = 2 * block_bytes}));
  expect_none_dropped();
}

TEST_F(UdpBatchCoalesceMemory, ASliceOfOneDatagramKeepsTheBlockOfAllOfThem) {
  concurrent_pool tight({.budget_bytes_max = 2 * block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  const std::vector<std::string> texts = send_messages(3);
  receive(mine);
  ASSERT_EQ(result->count, 2U);
  shared_slice fourth = mine[0].bytes.share(3 * 200, 200);
  const shared_slice twentieth = mine[1].bytes.share(9 * 200, 200);

  receive(mine);
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);
  EXPECT_EQ(result->count, 0U);
  EXPECT_TRUE(mine.empty());
  EXPECT_EQ(tight.stats().in_use, 2U);
  EXPECT_EQ(view_of(fourth), texts[3]);

  fourth.release();
  receive(mine);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(datagrams_of(mine), std::vector(texts.begin() + 20, texts.end()));
  EXPECT_EQ(view_of(twentieth), texts[19]);
  expect_none_dropped();
}

TEST_F(UdpBatchCoalesceMemory, ABudgetThatEndsWhileDatagramsAreCopiedOutLeavesAllOfThem) {
  concurrent_pool tight({.budget_bytes_max = block_bytes + 3 * 256});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  const std::vector<std::string> texts = send_messages(1);
  receive(mine);
  ASSERT_EQ(mine.size(), 1U);

  std::vector<shared_slice> copies;
  const auto copy_all = [&] {
    for (std::size_t index = 0; index < mine[0].count(); ++index)
      copies.push_back(mine[0].bytes.share(index * mine[0].segment_bytes, mine[0].segment(index).size()).clone());
  };
  EXPECT_THROW(copy_all(), budget_exceeded);
  ASSERT_EQ(copies.size(), 3U);
  for (std::size_t index = 0; index < copies.size(); ++index) EXPECT_EQ(view_of(copies[index]), texts[index]);
  EXPECT_EQ(datagrams_of(mine), texts);
  EXPECT_EQ(tight.stats().in_use, 4U);

  send(mine, pair.near);
  EXPECT_EQ(result->count, 1U);
  EXPECT_EQ(receive_far(10), texts);
  EXPECT_EQ(tight.stats().in_use, 3U) << "the copies; nothing else keeps the block";
  copies.clear();
  EXPECT_EQ(tight.stats().in_use, 0U);
}

TEST_F(UdpBatchCoalesceMemory, PagesThatAreRefusedLeaveMessagesInTheSocket) {
  support::failing_page_source pages;
  concurrent_pool bare({.pages = &pages});
  net::udp_batch mine(bare, {.coalesce = true});
  receive_nothing(mine);
  pages.fail_maps_from(1);
  const std::vector<std::string> texts = send_messages(4);
  receive(mine);
  EXPECT_TRUE(pages.failed());
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);
  EXPECT_EQ(bare.stats().in_use, 0U);

  // Two blocks are left of what there is.
  pages.stop_failing();
  std::vector<buffer> held;
  held.push_back(bare.acquire(block_bytes));
  held.push_back(bare.acquire(block_bytes));
  pages.fail_maps_from(1);
  while (buffer another = bare.try_acquire(block_bytes)) held.push_back(std::move(another));
  held.resize(held.size() - 2);
  receive(mine);
  EXPECT_FALSE(result->ec);
  ASSERT_EQ(result->count, 2U);
  EXPECT_EQ(datagrams_of(mine), std::vector(texts.begin(), texts.begin() + 20));

  pages.stop_failing();
  receive(mine);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(datagrams_of(mine), std::vector(texts.begin() + 20, texts.end()));
  expect_none_dropped();
}

TEST_F(UdpBatchCoalesceMemory, TheBlockOfAFullMessageIsZeroForWhoeverGetsItNext) {
  concurrent_pool tight({.budget_bytes_max = block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  const std::vector<std::string> texts(64, std::string(1023, 'x'));
  send_together(texts);
  receive(mine);
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(datagrams_of(mine), texts);
  EXPECT_EQ(mine.stats().received_coalesced, 64U);
  mine.clear();
  buffer next = tight.acquire(block_bytes);
  EXPECT_TRUE(std::all_of(next.data(), next.data() + next.size(), [](std::byte each) { return each == std::byte{}; }));
}

}  // namespace
}  // namespace slabbuf
