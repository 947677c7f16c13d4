// SPDX-License-Identifier: MIT
// A block that is granted to a batch that coalesces: it takes a whole message, and none that is too small does.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_executor.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

using support::on_receive;

using UdpBatchCoalesceGrant = support::udp_joined_fixture;

TEST_F(UdpBatchCoalesceGrant, TakesAWholeMessageThoughOthersWaitForTheBudget) {
  concurrent_pool tight({.budget_bytes_max = 4 * block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  send_together(first);
  send_together(second);
  buffer in_the_way = tight.acquire(2 * block_bytes);
  std::optional<asio::error_code> waited;
  net::async_acquire(tight, 4 * block_bytes,
                     asio::bind_executor(context, [&](asio::error_code ec, buffer) { waited = ec; }));
  const auto receive_meanwhile = [&] {
    result.reset();
    net::async_receive(pair.near, mine, store());
    context.restart();
    while (!result) context.run_one();
  };
  receive_meanwhile();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space) << "there is room for it, but others were first";
  EXPECT_EQ(result->count, 0U);

  mine.grant(tight.acquire(mine.datagram_bytes_max()));
  receive_meanwhile();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 1U) << "one block, one message";
  EXPECT_EQ(datagrams_of(mine), first);
  EXPECT_EQ(mine.stats().received_coalesced, first.size());
  EXPECT_FALSE(waited);

  mine.clear();
  in_the_way.release();
  run();
  EXPECT_EQ(waited, asio::error_code());
  receive(mine);
  EXPECT_EQ(datagrams_of(mine), second) << "it has stayed in the socket";
  expect_none_dropped();
}

TEST_F(UdpBatchCoalesceGrant, TheFirstMessageIsInTheGrantedBlockAndTheOthersAreInThePools) {
  concurrent_pool other;
  net::udp_batch mine(pool, {.coalesce = true});
  receive_nothing(mine);
  buffer block = other.acquire(2 * block_bytes);
  const std::byte* const address = std::as_const(block).data();
  send_together(second);
  send_together(first);
  mine.grant(std::move(block));
  receive(mine);
  ASSERT_EQ(result->count, 2U);
  EXPECT_EQ(std::as_const(mine[0].bytes).data(), address);
  EXPECT_EQ(datagrams_of(mine), all_of(second, first));
  EXPECT_EQ(in_use(), 1U);
  EXPECT_EQ(other.stats().in_use, 1U);

  send(mine, pair.near);
  EXPECT_EQ(receive_far(second.size() + first.size()), all_of(second, first));
  EXPECT_EQ(in_use() + other.stats().in_use, 0U);
}

TEST_F(UdpBatchCoalesceGrant, GoesBackFromASilentSocketWhichJoinsFromThenOn) {
  joined.grant(pool.acquire(block_bytes));
  EXPECT_EQ(in_use(), 1U);
  result.reset();
  net::async_receive(pair.near, joined, store());
  EXPECT_EQ(in_use(), 0U);
  net::udp_batch source(far_pool, {.coalesce = true});
  for (const std::string& text : first) source.push_back(filled(far_pool, text), pair.near.local_endpoint());
  net::async_send(pair.far, source, [](asio::error_code, std::size_t) {});
  run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->count, 1U);
  EXPECT_EQ(datagrams_of(joined), first);
}

TEST_F(UdpBatchCoalesceGrant, ABlockThatCouldNotHoldEveryMessageIsRefusedAndGivenBack) {
  EXPECT_THROW(joined.grant(pool.acquire(batch.datagram_bytes_max())), std::invalid_argument);
  EXPECT_THROW(joined.grant(pool.acquire(block_bytes / 2)), std::invalid_argument);
  EXPECT_EQ(in_use(), 0U);
  // One that is there already stays.
  joined.grant(pool.acquire(block_bytes));
  EXPECT_THROW(joined.grant(buffer()), std::invalid_argument);
  EXPECT_EQ(in_use(), 1U);
}

TEST_F(UdpBatchCoalesceGrant, GoesBackWithItsSuccessorAndWithTheBatch) {
  {
    net::udp_batch mine(pool, {.coalesce = true});
    mine.grant(pool.acquire(block_bytes));
    mine.grant(pool.acquire(block_bytes));
    EXPECT_EQ(in_use(), 1U);
    mine.clear();
    EXPECT_EQ(in_use(), 0U);
    mine.grant(pool.acquire(block_bytes));
  }
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchCoalesceGrant, WhatTheOwnerWroteIsClearedBehindTheMessage) {
  concurrent_pool tight({.budget_bytes_max = block_bytes});
  net::udp_batch mine(tight, {.coalesce = true});
  receive_nothing(mine);
  send_together(first);
  buffer block = tight.acquire(block_bytes);
  std::memset(block.data(), 'x', block.size());
  mine.grant(std::move(block));
  receive(mine);
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(datagrams_of(mine), first);
  mine.clear();
  buffer next = tight.acquire(block_bytes);
  EXPECT_TRUE(std::all_of(next.data(), next.data() + next.size(), [](std::byte each) { return each == std::byte{}; }));
}

TEST_F(UdpBatchCoalesceGrant, AnErrorOfTheSocketCostsNoMessage) {
  receive_nothing(joined);
  send_together(first);
  bool fails = true;
  on_receive = [&] { return std::exchange(fails, false) ? ECONNREFUSED : 0; };
  joined.grant(pool.acquire(block_bytes));
  receive(joined);
  EXPECT_EQ(result->ec, asio::error::connection_refused);
  EXPECT_EQ(result->count, 0U);
  EXPECT_EQ(in_use(), 0U) << "the granted one is back, too";
  joined.grant(pool.acquire(block_bytes));
  receive(joined);
  EXPECT_EQ(datagrams_of(joined), first);
  EXPECT_EQ(in_use(), 1U);
}

TEST_F(UdpBatchCoalesceGrant, AnErrorThatWasKeptForTheNextReceiveLeavesItForTheOneAfter) {
  receive_nothing(joined);
  // As many messages as the first call has blocks for, and one more; the second call fails.
  for (int message = 0; message < 9; ++message) send_together(first);
  int calls = 0;
  on_receive = [&] { return ++calls == 2 ? ECONNREFUSED : 0; };
  receive(joined);
  EXPECT_EQ(result->count, 8U);
  buffer block = pool.acquire(block_bytes);
  const std::byte* const address = std::as_const(block).data();
  joined.grant(std::move(block));
  receive(joined);
  EXPECT_EQ(result->ec, asio::error::connection_refused);
  EXPECT_EQ(in_use(), 1U);
  receive(joined);
  EXPECT_FALSE(result->ec);
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(std::as_const(joined[0].bytes).data(), address);
  EXPECT_EQ(datagrams_of(joined), first);
}

}  // namespace
}  // namespace slabbuf
