// SPDX-License-Identifier: MIT
// Batches that coalesce over IPv6, and over IPv4 on a socket of IPv6: addresses, sizes, headers differ, and nothing
// else.
#include <slabbuf/net/udp_batch.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/ip/udp.hpp>
#include <asio/ip/v6_only.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::address_v4;
using asio::ip::address_v6;
using asio::ip::udp;
using support::udp_pair;

// The pair is one of IPv6.
class UdpBatchCoalesceIPv6 : public support::udp_coalesce_fixture {
 protected:
  void SetUp() override {
    if (!use_ipv6()) GTEST_SKIP() << "no IPv6 here";
  }
};

// The side under test takes both, and its peer has IPv4.
class UdpBatchCoalesceMapped : public support::udp_coalesce_fixture {
 protected:
  void SetUp() override {
    try {
      pair.near = udp_pair::socket(context, udp::v6());
      pair.near.set_option(asio::ip::v6_only(false));
      pair.near.bind({address_v6::any(), 0});
    } catch (const std::system_error& fault) {
      GTEST_SKIP() << "no IPv6 here: " << fault.what();
    }
  }
  udp::endpoint near_endpoint() const { return {address_v4::loopback(), pair.near.local_endpoint().port()}; }
  static udp::endpoint mapped(const udp::endpoint& of) {
    return {asio::ip::make_address_v6(asio::ip::v4_mapped, of.address().to_v4()), of.port()};
  }
};

TEST_F(UdpBatchCoalesceIPv6, DatagramsLeaveTogetherAndArriveOneByOne) { expect_to_leave_together(); }

TEST_F(UdpBatchCoalesceIPv6, SeveralComeInOneBlockAndGoBackInIt) {
  expect_to_come_in_one_block_and_go_back_in_it(pair.near.local_endpoint(), pair.far.local_endpoint());
}

TEST_F(UdpBatchCoalesceIPv6, OnAConnectedSocketTheyNeedNoAddress) {
  pair.near.connect(pair.far.local_endpoint());
  const std::vector<std::string> texts = numbered("to the peer ", 8, 100);
  for (const std::string& text : texts) joined.push_back(filled(text));
  send(joined, pair.near);
  EXPECT_EQ(receive_far(8), texts);
  EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 8U : 0U);
}

// 65,507 bytes, the most of IPv4, are the most of a message here, too: 13 times 5,039. A datagram may have 20 more.
TEST_F(UdpBatchCoalesceIPv6, TheLargestMessageAndTheLargestDatagramPass) {
  joined.push_back(filled(std::string(13 * 5039, 'm') + "rest"), pair.far.local_endpoint(), 5039);
  send(joined, pair.near);
  EXPECT_EQ(receive_far(14), all_of(std::vector(13, std::string(5039, 'm')), std::vector<std::string>{"rest"}));
  EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 13U : 0U);
  joined.clear();
  joined.push_back(filled(std::string(13 * 5041, 'n')), pair.far.local_endpoint(), 5041);
  send(joined, pair.near);
  EXPECT_EQ(receive_far(13), std::vector(13, std::string(5041, 'n')));
  EXPECT_EQ(joined.stats().refused, cuts ? 0U : 1U);

  const std::string largest(65'527, 'x');
  pair.send(largest);
  receive(joined);
  ASSERT_EQ(joined.size(), 1U);
  EXPECT_TRUE(support::text_of(joined[0].bytes) == largest);
  EXPECT_FALSE(joined[0].truncated);
  EXPECT_EQ(joined[0].count(), 1U);
  send(joined, pair.near);
  EXPECT_FALSE(joined[0].error) << joined[0].error.message();
  EXPECT_TRUE(pair.receive() == largest);

  joined.clear();
  joined.push_back(filled(largest + largest + "rest"), pair.far.local_endpoint(), largest.size());
  send(joined, pair.near);
  EXPECT_TRUE(pair.receive() == largest);
  EXPECT_TRUE(pair.receive() == largest);
  EXPECT_EQ(receive_far(1), std::vector<std::string>{"rest"});
}

TEST_F(UdpBatchCoalesceMapped, SeveralComeInOneBlockAndGoBackInIt) {
  expect_to_come_in_one_block_and_go_back_in_it(near_endpoint(), mapped(pair.far.local_endpoint()));
  EXPECT_EQ(joined.stats().refused, cuts ? 0U : 1U);
}

TEST_F(UdpBatchCoalesceMapped, WhatHasTheSamePortIsNotTheSamePeer) {
  // All of 127.0.0.0/8 is this host.
  udp_pair::socket other(context, {address_v4(0x7f00'0002), pair.far.local_endpoint().port()});
  const std::vector<std::string> texts = numbered("", 9, 100);
  for (std::size_t index = 0; index < texts.size(); ++index) {
    joined.push_back(filled(texts[index]), mapped(index % 3 == 2 ? other.local_endpoint() : pair.far.local_endpoint()));
  }
  send(joined, pair.near);
  EXPECT_EQ(result->count, 9U);
  EXPECT_EQ(receive_far(6), (std::vector{texts[0], texts[1], texts[3], texts[4], texts[6], texts[7]}));
  std::swap(pair.far, other);
  EXPECT_EQ(receive_far(3), (std::vector{texts[2], texts[5], texts[8]}));
  EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 6U : 0U);
}

TEST_F(UdpBatchCoalesceMapped, PeersOfBothKindsShareABatch) {
  receive_nothing(joined);
  udp_pair::socket six(context, {address_v6::loopback(), 0});
  const std::vector<std::string> of_four = numbered("four ", 5, 100);
  const std::vector<std::string> of_six = numbered("six ", 7, 100);
  send_together(of_four, near_endpoint());
  std::swap(pair.far, six);
  send_together(of_six, {address_v6::loopback(), pair.near.local_endpoint().port()});
  std::swap(pair.far, six);

  receive(joined);
  EXPECT_EQ(datagrams_of(joined), all_of(of_four, of_six));
  ASSERT_EQ(joined.size(), joins ? 2U : 12U);
  EXPECT_EQ(joined[0].peer, mapped(pair.far.local_endpoint()));
  EXPECT_EQ(joined[joined.size() - 1].peer, six.local_endpoint());
  send(joined, pair.near);
  EXPECT_EQ(result->count, joined.size());
  EXPECT_EQ(receive_far(5), of_four);
  std::swap(pair.far, six);
  EXPECT_EQ(receive_far(7), of_six);
  EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 12U : 0U);
}

}  // namespace
}  // namespace slabbuf
