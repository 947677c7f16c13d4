// SPDX-License-Identifier: MIT
// Batches that coalesce under the smallest budget there is: that of one block.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_executor.hpp>

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

using UdpBatchCoalesceOneBlock = support::udp_joined_fixture;

TEST_F(UdpBatchCoalesceOneBlock, IsTheLeastThatABatchIsMadeWith) {
  concurrent_pool enough({.budget_bytes_max = block_bytes});
  EXPECT_NO_THROW(net::udp_batch(enough, {.coalesce = true}));
  concurrent_pool small({.budget_bytes_max = block_bytes - 1});
  EXPECT_THROW(net::udp_batch(small, {.coalesce = true}), std::invalid_argument);
  EXPECT_NO_THROW(net::udp_batch(small, {.datagram_bytes_max = block_bytes / 2}));
}

TEST_F(UdpBatchCoalesceOneBlock, EchoesAllOneMessageATime) {
  const auto expect_echoes = [&](auto&& tight) {
    net::udp_batch mine(tight, {.coalesce = true});
    receive_nothing(mine);
    send_together(first);
    pair.send("alone");
    pair.send("");
    send_together(second);
    std::vector<std::string> echoed;
    for (const std::size_t count : {10U, 1U, 1U, 64U}) {
      receive(mine);
      EXPECT_FALSE(result->ec);
      ASSERT_EQ(result->count, 1U);
      EXPECT_EQ(mine[0].count(), count);
      EXPECT_EQ(tight.stats().in_use, 1U);
      send(mine, pair.near);
      EXPECT_EQ(result->count, 1U);
      EXPECT_EQ(tight.stats().in_use, 0U);
      echoed = all_of(std::move(echoed), receive_far(count));
    }
    EXPECT_EQ(echoed, all_of(first, std::vector<std::string>{"alone", ""}, second));
    EXPECT_EQ(mine.stats().received_coalesced, 74U);
    EXPECT_EQ(mine.stats().sent_coalesced, 74U);
    EXPECT_EQ(pair.near.available(), 0U);
  };
  expect_echoes(concurrent_pool({.budget_bytes_max = block_bytes}));
  expect_echoes(local_pool({.budget_bytes_max = block_bytes}));
  expect_none_dropped();
}

TEST_F(UdpBatchCoalesceOneBlock, WhereItIsHeldTheNextMessageWaitsForIt) {
  concurrent_pool tight({.budget_bytes_max = block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  send_together(first);
  send_together(second);
  receive(mine);
  ASSERT_EQ(datagrams_of(mine), first);
  buffer held = std::move(mine[0].bytes);
  for (int attempt = 0; attempt < 3; ++attempt) {
    receive(mine);
    EXPECT_EQ(result->ec, asio::error::no_buffer_space);
    EXPECT_EQ(result->count, 0U);
  }

  std::optional<buffer> waited;
  net::async_acquire(tight, mine.datagram_bytes_max(),
                     asio::bind_executor(context, [&](asio::error_code ec, buffer got) {
                       EXPECT_FALSE(ec);
                       waited = std::move(got);
                     }));
  context.restart();
  context.poll();
  EXPECT_FALSE(waited);
  held.release();
  run();
  ASSERT_TRUE(waited);
  mine.grant(std::move(*waited));
  receive(mine);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(datagrams_of(mine), second);
  EXPECT_EQ(tight.stats().in_use, 1U);
}

TEST_F(UdpBatchCoalesceOneBlock, DatagramsThatAreToBeSentTakeItsRoomUntilTheyAre) {
  concurrent_pool tight({.budget_bytes_max = block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  net::udp_batch answers(tight, {.coalesce = true});
  receive_nothing(mine);
  send_together(second);
  for (const std::string& text : first) answers.push_back(filled(tight, text), pair.far.local_endpoint());
  receive(mine);
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);

  send(answers, pair.near);
  EXPECT_EQ(answers.stats().sent_coalesced, first.size());
  EXPECT_EQ(receive_far(first.size()), first);
  EXPECT_EQ(tight.stats().in_use, 0U);
  receive(mine);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(datagrams_of(mine), second) << "what small blocks had of the budget is room for a large one";
}

}  // namespace
}  // namespace slabbuf
