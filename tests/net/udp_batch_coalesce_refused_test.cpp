// SPDX-License-Identifier: MIT
// What the kernel itself refuses to cut: the path is narrow, there are no checksums, headers take the room. Every
// datagram leaves all the same, or says why not.
#include <slabbuf/net/udp_batch.hpp>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <asio/ip/udp.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_coalesce_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::address_v4;
using asio::ip::udp;
using support::on_send;
using support::udp_pair;

class UdpBatchCoalesceRefused : public support::udp_coalesce_fixture {
 protected:
  void SetUp() override {
    if (!cuts) GTEST_SKIP() << "the system does not cut datagrams";
  }

  bool set_near(int level, int name, int value) {
    return ::setsockopt(pair.near.native_handle(), level, name, &value, sizeof(value)) == 0;
  }
  // A pair of IPv6, from which so many bytes leave at once. IPv4's limit is the device's.
  bool has_narrow_path() { return use_ipv6() && set_near(IPPROTO_IPV6, IPV6_MTU, 1280); }
  // A pair of another protocol, which the system does not cut, whatever it says; kernels from 7.1 on are without.
  bool is_udp_lite() {
    for (udp_pair::socket* const each : {&pair.near, &pair.far}) {
      const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);
      if (descriptor < 0) return false;
      each->close();
      each->assign(udp::v4(), descriptor);
      each->bind({address_v4::loopback(), 0});
    }
    return net::detail::knows_segments(pair.near.native_handle());
  }
  // What the kernel says of such a message, which the side under test sends to itself.
  int error_of(std::size_t count, std::size_t segment_bytes) {
    std::string text(count * segment_bytes, 'x');
    ::iovec part{text.data(), text.size()};
    udp::endpoint self = pair.near.local_endpoint();
    alignas(::cmsghdr) std::array<std::byte, net::detail::segment_control_bytes> control{};
    std::array<::mmsghdr, 1> message{};
    ::msghdr& header = message[0].msg_hdr;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_name = self.data();
    header.msg_namelen = static_cast<::socklen_t>(self.size());
    net::detail::set_sent_segment_bytes(header, control, segment_bytes);
    asio::error_code ec;
    net::detail::send_datagrams_now(pair.near.native_handle(), message, ec);
    return ec.value();
  }
  // All of the batch arrives, and none has an error.
  void expect_all_sent(const std::vector<std::string>& texts) {
    send(joined, pair.near);
    EXPECT_FALSE(result->ec);
    EXPECT_EQ(result->count, joined.size());
    for (const net::udp_datagram& each : joined) EXPECT_FALSE(each.error) << each.error.message();
    EXPECT_EQ(in_use(), 0U);
    EXPECT_EQ(receive_far(texts.size()), texts);
  }
};

TEST_F(UdpBatchCoalesceRefused, DatagramsLargerThanThePathGoOneByOneAndSmallerOnesTogether) {
  if (!has_narrow_path()) GTEST_SKIP() << "no IPv6 whose path is narrow";
  const int error = error_of(2, 1233);
  ASSERT_TRUE(error == EMSGSIZE || error == EINVAL) << error;
  expect_all_sent(push(joined, 10, 1233));
  EXPECT_EQ(joined.stats().refused, 1U);
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);

  joined.clear();
  expect_all_sent(push(joined, 10, 1232));
  EXPECT_EQ(joined.stats().refused, 1U);
  EXPECT_EQ(joined.stats().sent_coalesced, 10U);

  joined.clear();
  joined.push_back(filled(std::string(2000, 'a') + std::string(2000, 'b') + "c"), pair.far.local_endpoint(), 2000);
  expect_all_sent({std::string(2000, 'a'), std::string(2000, 'b'), "c"});
  EXPECT_EQ(joined.stats().refused, 1U) << "it is known";
}

TEST_F(UdpBatchCoalesceRefused, WhatGoesInNoWaySaysSoAndStaysAndTheOthersGoTogether) {
  if (!has_narrow_path() || !set_near(IPPROTO_IPV6, IPV6_DONTFRAG, 1)) GTEST_SKIP() << "no IPv6 whose path is narrow";
  const udp::endpoint peer = pair.far.local_endpoint();
  const std::vector<std::string> large = numbered("large ", 5, 2000);
  const std::vector<std::string> small = numbered("small ", 3, 1000);
  for (std::size_t index = 0; index < 3; ++index) joined.push_back(filled(large[index]), peer);
  for (const std::string& text : small) joined.push_back(filled(text), peer);
  std::string several;
  for (const std::string& text : large) several += text;
  joined.push_back(filled(several), peer, 2000);

  send(joined, pair.near);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 3U);
  EXPECT_EQ(receive_far(3), small);
  EXPECT_EQ(joined.stats().refused, 1U);
  EXPECT_EQ(joined.stats().sent_coalesced, 3U);
  for (const std::size_t index : {0U, 1U, 2U, 6U}) {
    EXPECT_EQ(joined[index].error, asio::error::message_size) << index;
    EXPECT_EQ(joined[index].bytes.size(), index == 6 ? several.size() : 2000U);
    EXPECT_EQ(joined[index].sent_bytes, 0U);
  }
  EXPECT_EQ(in_use(), 4U);

  ASSERT_TRUE(set_near(IPPROTO_IPV6, IPV6_DONTFRAG, 0));
  send(joined, pair.near);
  EXPECT_EQ(result->count, 4U);
  EXPECT_EQ(receive_far(8), all_of({large[0], large[1], large[2]}, large));
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchCoalesceRefused, WithoutChecksumsAllGoOneByOneWhateverTheirSize) {
  if (!set_near(SOL_SOCKET, SO_NO_CHECK, 1) || error_of(2, 100) != EINVAL)
    GTEST_SKIP() << "the system cuts datagrams without checksums";
  std::vector<std::string> texts;
  for (const std::size_t size : {300U, 200U, 100U}) texts = all_of(std::move(texts), push(joined, 10, size));
  expect_all_sent(texts);
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);
  EXPECT_EQ(joined.stats().refused, 3U) << "once a size";
  joined.clear();
  expect_all_sent(push(joined, 10, 100));
  EXPECT_EQ(joined.stats().refused, 3U);
}

TEST_F(UdpBatchCoalesceRefused, WhereNobodyCutsItIsTriedOnce) {
  if (!is_udp_lite() || error_of(2, 100) != EIO) GTEST_SKIP() << "no UDP-Lite";
  std::vector<std::string> texts;
  for (const std::size_t size : {300U, 200U, 100U}) texts = all_of(std::move(texts), push(joined, 10, size));
  joined.push_back(filled("aabbc"), pair.far.local_endpoint(), 2);
  expect_all_sent(all_of(std::move(texts), std::vector<std::string>{"aa", "bb", "c"}));
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);
  EXPECT_EQ(joined.stats().refused, 1U);
}

TEST_F(UdpBatchCoalesceRefused, AMessageThatOptionsLeaveNoRoomForGoesOneByOne) {
  std::array<char, 40> options{};
  options.fill(IPOPT_NOP);
  if (::setsockopt(pair.near.native_handle(), IPPROTO_IP, IP_OPTIONS, options.data(), options.size()) != 0)
    GTEST_SKIP() << "options of IPv4 are not allowed";
  ASSERT_EQ(error_of(64, 1023), EMSGSIZE) << "65,472 bytes, and 68 of headers";
  // 64 datagrams, one by one, are more than some systems give a socket room for.
  pair.far.set_option(asio::socket_base::receive_buffer_size(1 << 20));
  expect_all_sent(push(joined, 64, 1023));
  EXPECT_EQ(joined.stats().refused, 1U);
  EXPECT_EQ(joined.stats().sent_coalesced, 0U);
}

TEST_F(UdpBatchCoalesceRefused, ARefusalInTheMidstOfABlockRepeatsAndLosesNothing) {
  net::udp_batch one(pool, {.datagrams_max = 1, .coalesce = true});  // a message a call
  std::vector<std::string> texts = numbered("", 200, 3);
  texts.emplace_back("!");
  std::string several;
  for (const std::string& text : texts) several += text;
  one.push_back(filled(several), pair.far.local_endpoint(), 3);

  int calls = 0;
  on_send = [&] {
    if (++calls == 2) {
      EXPECT_TRUE(set_near(SOL_SOCKET, SO_NO_CHECK, 1));
    }
    return 0;
  };
  send(one, pair.near);
  EXPECT_EQ(result->count, 1U);
  EXPECT_FALSE(one[0].error);
  EXPECT_EQ(receive_far(201), texts);
  EXPECT_EQ(one.stats().sent_coalesced, 64U);
  EXPECT_EQ(one.stats().refused, 1U);
  EXPECT_EQ(calls, 1 + 1 + 137) << "one that cut, one that did not, one for each of the rest";
}

TEST_F(UdpBatchCoalesceRefused, AnErrorAboutAnEarlierDatagramLeavesTheBlockWhole) {
  const udp::endpoint peer = pair.far.local_endpoint();
  pair.near.connect(peer);
  pair.far.close();
  joined.push_back(filled("nobody hears this"));
  send(joined, pair.near);
  pair.far = udp_pair::socket(context, peer);

  joined.clear();
  joined.push_back(filled("aabbccd"), {}, 2);
  joined.push_back(filled("ee"));
  joined.push_back(filled("ff"));
  send(joined, pair.near);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(joined[0].error, asio::error::connection_refused);
  EXPECT_EQ(joined[0].bytes.size(), 7U);
  EXPECT_EQ(receive_far(2), (std::vector<std::string>{"ee", "ff"}));
  EXPECT_EQ(joined.stats().refused, 0U);
  send(joined, pair.near);
  EXPECT_FALSE(joined[0].error);
  EXPECT_EQ(receive_far(4), (std::vector<std::string>{"aa", "bb", "cc", "d"}));
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchCoalesceRefused, APeerThatCannotBeReachedHasTheErrorAndTheOtherGetsAll) {
  // From 127.0.0.1 nothing leaves the host: EINVAL, or there is no route at all.
  for (int index = 0; index < 3; ++index) joined.push_back(filled("lost"), {address_v4(0xc000'0201), 9});
  const std::vector<std::string> texts = push(joined, 3, 4);
  send(joined, pair.near);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 3U);
  for (std::size_t index = 0; index < 6; ++index) {
    EXPECT_EQ(static_cast<bool>(joined[index].error), index < 3) << index;
    EXPECT_EQ(static_cast<bool>(joined[index].bytes), index < 3) << index;
  }
  EXPECT_EQ(receive_far(3), texts);
  EXPECT_LE(joined.stats().refused, 1U);
}

}  // namespace
}  // namespace slabbuf
