// SPDX-License-Identifier: MIT
// Batches that let the system join and cut datagrams, where it does and where it will not: what arrives is the same.
#include <slabbuf/net/udp_batch.hpp>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/seeded_random.hpp"
#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::on_send;
using support::udp_pair;

using UdpBatchCoalesce = support::udp_coalesce_fixture;

TEST_F(UdpBatchCoalesce, TakesBlocksForTheLargestThereIs) {
  EXPECT_TRUE(joined.coalesces());
  EXPECT_FALSE(batch.coalesces());
  EXPECT_EQ(joined.datagram_bytes_max(), 65'535U);
  concurrent_pool small({.budget_bytes_max = 65'536 / 2});
  EXPECT_THROW(net::udp_batch(small, {.coalesce = true}), std::invalid_argument);
  EXPECT_THROW(net::udp_batch(pool, {.datagrams_max = 0, .coalesce = true}), std::invalid_argument);
}

TEST_F(UdpBatchCoalesce, DatagramsOfOneSizeToOnePeerLeaveTogetherAndArriveOneByOne) { expect_to_leave_together(); }

TEST_F(UdpBatchCoalesce, SeveralComeInOneBlockAndGoBackInIt) {
  expect_to_come_in_one_block_and_go_back_in_it(pair.near.local_endpoint(), pair.far.local_endpoint());
}

TEST_F(UdpBatchCoalesce, MoreThanTheSystemCutsTakeMoreMessages) {
  joined.push_back(filled(std::string(300, 'x')), pair.far.local_endpoint(), 2);
  send(joined, pair.near);
  EXPECT_EQ(result->count, 1U) << "150 datagrams in one block";
  EXPECT_EQ(receive_far(150), std::vector<std::string>(150, "xx"));

  joined.clear();
  joined.push_back(filled(std::string(150'000, 'y')), pair.far.local_endpoint(), 30'000);
  send(joined, pair.near);
  EXPECT_EQ(receive_far(5), std::vector<std::string>(5, std::string(30'000, 'y')));

  net::udp_batch many(pool, {.datagrams_max = 200, .coalesce = true});
  const std::vector<std::string> texts = push(many, 200, 20);
  send(many, pair.near);
  EXPECT_EQ(receive_far(200), texts);
  EXPECT_EQ(joined.stats().refused + many.stats().refused, cuts ? 0U : 2U);
}

TEST_F(UdpBatchCoalesce, ABatchThatDoesNotCoalesceSendsSeveralOneByOne) {
  batch.push_back(filled("aabbc"), pair.far.local_endpoint(), 2);
  batch.push_back(filled("whole"), pair.far.local_endpoint(), 5);
  send(batch, pair.near);
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(receive_far(4), (std::vector<std::string>{"aa", "bb", "c", "whole"}));
  EXPECT_EQ(batch.stats().sent_coalesced, 0U);
}

TEST_F(UdpBatchCoalesce, WhateverIsSentToWhomeverTheyGetTheSameAsWithout) {
  support::seeded_random random(4);
  udp_pair::socket other(context, udp::endpoint(asio::ip::address_v4::loopback(), 0));
  const std::array<std::size_t, 6> sizes{0, 1, 100, 100, 200, 1200};
  for (int round = 0; round < 200; ++round) {
    joined.clear();
    std::array<std::vector<std::string>, 2> expected;
    for (std::size_t count = random.between(1, 64); count > 0; --count) {
      const std::size_t which = random.between(0, 3) == 0 ? 1 : 0;
      const std::string text(sizes[random.between(0, sizes.size() - 1)],
                             static_cast<char>('a' + random.between(0, 25)));
      const bool several = text.size() == 1200 && random.between(0, 1) == 0;
      const std::size_t segment_bytes = several ? random.between(1, 1200) : 0;
      joined.push_back(filled(text), which == 0 ? pair.far.local_endpoint() : other.local_endpoint(), segment_bytes);
      if (random.between(0, 9) == 0) {
        joined[joined.size() - 1].bytes.release();
        continue;
      }
      const net::udp_datagram& pushed = joined[joined.size() - 1];
      for (std::size_t index = 0; index < pushed.count(); ++index) {
        expected[which].push_back(text.substr(index * segment_bytes, pushed.segment(index).size()));
      }
    }
    // Sockets have room for so many only.
    if (expected[0].size() + expected[1].size() > 100) continue;
    send(joined, pair.near);
    ASSERT_FALSE(result->ec);
    ASSERT_EQ(in_use(), 0U);
    for (const std::string& text : expected[0]) ASSERT_EQ(pair.receive(), text) << round;
    std::swap(pair.far, other);
    for (const std::string& text : expected[1]) ASSERT_EQ(pair.receive(), text) << round;
    std::swap(pair.far, other);
  }
}

TEST_F(UdpBatchCoalesce, WhatTheSystemWillNotCutGoesOneByOneAndIsNotTriedAgain) {
  if (!cuts) GTEST_SKIP() << "the system does not cut datagrams";
  int failures = 1;
  on_send = [&] { return failures-- > 0 ? EIO : 0; };
  std::vector<std::string> texts = push(joined, 10, 200);
  send(joined, pair.near);
  EXPECT_EQ(result->count, 10U);
  for (const net::udp_datagram& each : joined) EXPECT_FALSE(each.error);
  EXPECT_EQ(receive_far(10), texts);
  EXPECT_EQ(joined.stats().refused, 1U);
  joined.clear();
  texts = push(joined, 10, 20);
  send(joined, pair.near);
  EXPECT_EQ(receive_far(10), texts);
  EXPECT_EQ(joined.stats().refused, 1U);
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);
}

TEST_F(UdpBatchCoalesce, WhereTheyAreTooLargeSmallerOnesStillGoTogether) {
  if (!cuts) GTEST_SKIP() << "the system does not cut datagrams";
  int failures = 1;
  on_send = [&] { return failures-- > 0 ? EINVAL : 0; };
  push(joined, 4, 2000);
  send(joined, pair.near);
  receive_far(4);
  EXPECT_EQ(joined.stats().refused, 1U);
  for (const std::size_t size : {2000U, 1999U}) {
    joined.clear();
    const std::vector<std::string> texts = push(joined, 4, size);
    send(joined, pair.near);
    EXPECT_EQ(receive_far(4), texts);
    EXPECT_EQ(joined.stats().sent_coalesced, size == 2000 ? 0U : 4U);
  }
  EXPECT_EQ(joined.stats().refused, 1U);
}

TEST_F(UdpBatchCoalesce, AnErrorThatIsNotAboutItConcernsTheFirstAndTheOthersAreSent) {
  int failures = 1;
  on_send = [&] { return failures-- > 0 ? ECONNREFUSED : 0; };
  push(joined, 3, 10);
  send(joined, pair.near);
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(joined[0].error, asio::error::connection_refused);
  EXPECT_EQ(joined[0].bytes.size(), 10U);
  EXPECT_EQ(receive_far(2), (std::vector<std::string>{std::string(10, 'b'), std::string(10, 'c')}));
  EXPECT_EQ(joined.stats().refused, 0U + (cuts ? 0U : 1U));
  send(joined, pair.near);
  EXPECT_EQ(receive_far(1), std::vector<std::string>{std::string(10, 'a')});
}

TEST_F(UdpBatchCoalesce, AKernelWithoutItSendsAndReceivesOneByOne) {
  support::unknown_option = UDP_SEGMENT;
  const std::vector<std::string> texts = push(joined, 10, 200);
  send(joined, pair.near);
  EXPECT_EQ(receive_far(10), texts);
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);
  EXPECT_EQ(joined.stats().refused, 1U);

  support::unknown_option = UDP_GRO;
  net::udp_batch mine(pool, {.coalesce = true});
  receive_nothing(mine);
  EXPECT_EQ(mine.stats().refused, 1U);
  support::unknown_option = 0;
  net::udp_batch source(pool, {.coalesce = true});
  for (int index = 0; index < 5; ++index) source.push_back(filled("same"), pair.near.local_endpoint());
  send(source, pair.far);
  receive(mine);
  EXPECT_EQ(mine.size(), 5U);
  EXPECT_EQ(mine.stats().received_coalesced, 0U);
}

TEST_F(UdpBatchCoalesce, ASendThatIsCutShortGoesOnInTheMidstOfABlock) {
  // A pair of Unix sockets: they hold a few datagrams, and cut none.
  std::array<int, 2> descriptors{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, descriptors.data()), 0);
  pair.near.close();
  pair.near.assign(udp::v4(), descriptors[0]);
  pair.near.set_option(asio::socket_base::send_buffer_size(1));
  std::string expected;
  for (char each = 'a'; each <= 'z'; ++each) expected += std::string(2, each);
  joined.push_back(filled(expected), {}, 2);
  joined.push_back(filled("!"));

  asio::cancellation_signal signal;
  net::async_send(pair.near, joined, asio::bind_cancellation_slot(signal.slot(), store()));
  context.restart();
  context.poll();
  ASSERT_FALSE(result) << "the socket has no room for all of them";
  signal.emit(asio::cancellation_type::partial);
  run();
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(result->count, 0U);
  EXPECT_GT(joined[0].sent_bytes, 0U);
  EXPECT_LT(joined[0].sent_bytes, expected.size());
  EXPECT_EQ(joined[0].sent_bytes % 2, 0U);

  result.reset();
  net::async_send(pair.near, joined, store());
  std::string got;
  context.restart();
  std::array<char, 8> text{};
  while (got.size() < expected.size() + 1) {
    const ::ssize_t count = ::recv(descriptors[1], text.data(), text.size(), MSG_DONTWAIT);
    if (count > 0) {
      got.append(text.data(), static_cast<std::size_t>(count));
    } else {
      context.poll();
      context.restart();
    }
  }
  run();
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(joined[0].sent_bytes, 0U);
  EXPECT_EQ(got, expected + "!");
  EXPECT_EQ(in_use(), 0U);
  ::close(descriptors[1]);
}

}  // namespace
}  // namespace slabbuf
