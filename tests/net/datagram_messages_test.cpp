// SPDX-License-Identifier: MIT
// What goes into which message; over a socket, udp_batch_coalesce_test.cpp.
#include <slabbuf/net/detail/datagram_messages.hpp>

#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_batch_fixture.hpp"

namespace slabbuf::net::detail {
namespace {

class DatagramMessages : public ::testing::Test {
 protected:
  ~DatagramMessages() override { support::on_send = nullptr; }

  udp_datagram to(const asio::ip::udp::endpoint& peer, std::size_t size, std::size_t segment_bytes = 0) {
    udp_datagram made;
    made.peer = peer;
    made.bytes = pool.acquire(size);
    made.segment_bytes = segment_bytes;
    return made;
  }
  // Sends what there is; system calls that took.
  std::size_t send(datagram_messages& messages) {
    std::size_t calls = 0;
    support::on_send = [&calls] {
      ++calls;
      return 0;
    };
    messages.begin_send(datagrams);
    asio::error_code ec;
    EXPECT_FALSE(messages.send_now(pair.near.native_handle(), datagrams, ec));
    EXPECT_FALSE(ec);
    return calls;
  }
  std::vector<std::size_t> received() {
    std::vector<std::size_t> sizes;
    while (pair.far.available() != 0) sizes.push_back(pair.receive().size());
    return sizes;
  }

  local_pool pool;
  asio::io_context context;
  support::udp_pair pair{context};
  std::vector<udp_datagram> datagrams;
  bool cuts = knows_segments(pair.near.native_handle());
};

TEST_F(DatagramMessages, JoinsEqualOnesAndAShorterOneToTheSamePeer) {
  datagram_messages messages(16, true);
  const auto peer = pair.far.local_endpoint();
  for (const std::size_t size : {200U, 200U, 90U, 90U, 100U, 100U}) datagrams.push_back(to(peer, size));
  EXPECT_EQ(send(messages), 1U);
  EXPECT_EQ(messages.sent(), 6U);
  EXPECT_EQ(received(), (std::vector<std::size_t>{200, 200, 90, 90, 100, 100}));
  EXPECT_EQ(messages.sent_coalesced(), cuts ? 5U : 0U) << "200 200 90, 90, 100 100";
  EXPECT_EQ(messages.refused(), cuts ? 0U : 1U);
}

TEST_F(DatagramMessages, JoinsNothingUnlessToldTo) {
  datagram_messages messages(4, false);
  for (int index = 0; index < 4; ++index) datagrams.push_back(to(pair.far.local_endpoint(), 100));
  EXPECT_EQ(send(messages), 1U);
  EXPECT_EQ(received(), std::vector<std::size_t>(4, 100));
  EXPECT_EQ(messages.sent_coalesced() + messages.refused(), 0U);
}

TEST_F(DatagramMessages, TakesMoreCallsWhereThereAreMoreMessagesThanRoom) {
  datagram_messages messages(2, false);
  datagrams.push_back(to(pair.far.local_endpoint(), 9, 2));
  EXPECT_EQ(send(messages), 3U) << "five messages, two a call";
  EXPECT_EQ(messages.sent(), 1U);
  EXPECT_EQ(received(), (std::vector<std::size_t>{2, 2, 2, 2, 1}));
}

TEST_F(DatagramMessages, TriesAgainLaterWhatWasRefused) {
  if (!cuts) GTEST_SKIP() << "the system does not cut datagrams";
  datagram_messages messages(4, true);
  bool refuses = true;
  std::size_t sends_joined = 0;
  for (std::size_t count = 0; count < 2 + datagram_messages::sends_before_retry; ++count) {
    datagrams.clear();
    for (int index = 0; index < 2; ++index) datagrams.push_back(to(pair.far.local_endpoint(), 100));
    support::on_send = [&] { return std::exchange(refuses, false) ? EINVAL : 0; };
    messages.begin_send(datagrams);
    asio::error_code ec;
    EXPECT_FALSE(messages.send_now(pair.near.native_handle(), datagrams, ec));
    ASSERT_EQ(messages.sent(), 2U);
    ASSERT_EQ(received(), std::vector<std::size_t>(2, 100));
    sends_joined = messages.sent_coalesced() / 2;
    if (count + 1 == messages.sends_before_retry) {
      EXPECT_EQ(sends_joined, 0U);
    }
  }
  EXPECT_EQ(messages.refused(), 1U);
  EXPECT_EQ(sends_joined, 2U);
}

TEST_F(DatagramMessages, SendsAllOfWhatWasPutInThePlaceOfSomethingHalfSent) {
  for (const bool coalesce : {false, true}) {
    datagram_messages messages(4, coalesce);
    datagrams.clear();
    datagrams.push_back(to(pair.far.local_endpoint(), 1000));
    datagrams[0].sent_bytes = 400;  // of ten of 100 that were there before
    send(messages);
    EXPECT_EQ(received(), std::vector<std::size_t>{1000});
    datagrams.clear();
    datagrams.push_back(to(pair.far.local_endpoint(), 900, 300));
    datagrams[0].sent_bytes = 400;
    send(messages);
    EXPECT_EQ(received(), std::vector<std::size_t>(3, 300));
  }
}

TEST_F(DatagramMessages, OfAClosedSocketSayNothingOfTheSystem) {
  datagram_messages messages(4, true);
  for (int index = 0; index < 2; ++index) datagrams.push_back(to(pair.far.local_endpoint(), 100));
  messages.begin_send(datagrams);
  asio::error_code ec;
  EXPECT_FALSE(messages.send_now(-1, datagrams, ec));
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_EQ(messages.refused(), 0U);
  send(messages);
  EXPECT_EQ(messages.sent_coalesced(), cuts ? 2U : 0U);
}

TEST_F(DatagramMessages, ThatAreNotKnownToBeOneDatagramAreNotTakenForOne) {
  datagram_messages messages(1, true);
  datagrams.push_back(to({}, 100));
  messages.offer(0, datagrams[0], 100);
  ::mmsghdr& header = messages.offered(0, 1)[0];
  header.msg_len = 50;
  header.msg_hdr.msg_controllen = 0;
  header.msg_hdr.msg_flags = MSG_CTRUNC;
  EXPECT_EQ(messages.accept(0, datagrams[0]), 50U);
  EXPECT_TRUE(datagrams[0].truncated);
  header.msg_hdr.msg_flags = 0;
  messages.accept(0, datagrams[0]);
  EXPECT_FALSE(datagrams[0].truncated);
}

}  // namespace
}  // namespace slabbuf::net::detail
