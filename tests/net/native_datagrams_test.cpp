// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/native_datagrams.hpp>

#include <gtest/gtest.h>
#include <sys/uio.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>

#include "support/udp_pair.hpp"

namespace slabbuf::net::detail {
namespace {

class NativeDatagrams : public ::testing::Test {
 protected:
  NativeDatagrams() {
    for (std::size_t index = 0; index < count; ++index) {
      vectors[index] = {spaces[index].data(), spaces[index].size()};
      headers[index].msg_hdr.msg_iov = &vectors[index];
      headers[index].msg_hdr.msg_iovlen = 1;
    }
  }

  static constexpr std::size_t count = 4;
  asio::io_context context;
  support::udp_pair pair{context};
  std::array<std::array<char, 16>, count> spaces{};
  std::array<::iovec, count> vectors{};
  std::array<::mmsghdr, count> headers{};
  asio::error_code ec;
};

TEST_F(NativeDatagrams, ReceiveWouldBlockOnABlockingSocketToo) {
  ASSERT_FALSE(pair.near.non_blocking());
  EXPECT_EQ(receive_datagrams_now(pair.near.native_handle(), headers, ec), 0U);
  EXPECT_EQ(ec, asio::error::would_block);
}

TEST_F(NativeDatagrams, ReceiveTakesWhatIsThere) {
  pair.send("one");
  pair.send("");
  ec = asio::error::eof;
  EXPECT_EQ(receive_datagrams_now(pair.near.native_handle(), headers, ec), 2U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(headers[0].msg_len, 3U);
  EXPECT_EQ(headers[1].msg_len, 0U);
  EXPECT_EQ(std::string_view(spaces[0].data(), 3), "one");
}

TEST_F(NativeDatagrams, SendStopsAtTheOneThatIsRefused) {
  pair.near.connect(pair.far.local_endpoint());
  std::string large(100'000, 'x');
  vectors[2] = {large.data(), large.size()};
  EXPECT_EQ(send_datagrams_now(pair.near.native_handle(), headers, ec), 2U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(send_datagrams_now(pair.near.native_handle(), std::span(headers).subspan(2), ec), 0U);
  EXPECT_EQ(ec, asio::error::message_size);
}

TEST_F(NativeDatagrams, ErrorsOfTheSystemArrive) {
  EXPECT_EQ(receive_datagrams_now(-1, headers, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_EQ(send_datagrams_now(-1, headers, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_EQ(dropped_datagrams(-1), std::nullopt);
  EXPECT_EQ(socket_cookie(-1), 0U);
}

TEST_F(NativeDatagrams, CountsWhatTheSocketDropped) {
  const auto before = dropped_datagrams(pair.near.native_handle());
  if (!before) GTEST_SKIP() << "the system does not say what a socket dropped";
  EXPECT_EQ(before, 0U);
  // More than its buffer takes, whatever that is.
  pair.near.set_option(asio::socket_base::receive_buffer_size(1));
  const std::string text(8000, 'x');
  for (int sent = 0; sent < 10; ++sent) pair.send(text);
  EXPECT_GT(dropped_datagrams(pair.near.native_handle()), 0U);
  EXPECT_NE(socket_cookie(pair.near.native_handle()), socket_cookie(pair.far.native_handle()));
}

TEST_F(NativeDatagrams, OneMessageIsCutIntoDatagramsAndReceivedAsOne) {
  const int far = pair.far.native_handle();
  if (!knows_segments(far) || !receive_segments(pair.near.native_handle()))
    GTEST_SKIP() << "the system neither cuts nor joins datagrams";
  pair.far.connect(pair.near.local_endpoint());
  std::string text = "aabbc";
  ::iovec from{text.data(), text.size()};
  std::array<::mmsghdr, 1> message{};
  message[0].msg_hdr.msg_iov = &from;
  message[0].msg_hdr.msg_iovlen = 1;
  alignas(::cmsghdr) std::array<std::byte, segment_control_bytes> sent_control{};
  set_sent_segment_bytes(message[0].msg_hdr, sent_control, 2);
  ASSERT_EQ(send_datagrams_now(far, message, ec), 1U) << ec.message();

  alignas(::cmsghdr) std::array<std::byte, segment_control_bytes> control{};
  headers[0].msg_hdr.msg_control = control.data();
  headers[0].msg_hdr.msg_controllen = control.size();
  ASSERT_EQ(receive_datagrams_now(pair.near.native_handle(), headers, ec), 1U);
  EXPECT_EQ(std::string_view(spaces[0].data(), headers[0].msg_len), text);
  EXPECT_EQ(received_segment_bytes(headers[0].msg_hdr), 2U);

  pair.far.send(asio::buffer("x", 1));
  headers[0].msg_hdr.msg_controllen = control.size();
  ASSERT_EQ(receive_datagrams_now(pair.near.native_handle(), headers, ec), 1U);
  EXPECT_EQ(received_segment_bytes(headers[0].msg_hdr), 0U) << "it came alone";
}

TEST_F(NativeDatagrams, TheSizeOfSegmentsIsNotReadWhereTheKernelHadNoRoomForIt) {
  alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  ::msghdr header{};
  header.msg_control = control.data();
  header.msg_controllen = CMSG_LEN(0);
  ::cmsghdr& cut_off = *CMSG_FIRSTHDR(&header);
  cut_off.cmsg_level = IPPROTO_UDP;
  cut_off.cmsg_type = UDP_GRO;
  cut_off.cmsg_len = CMSG_LEN(0);
  control[CMSG_LEN(0)] = std::byte{7};  // whatever lies behind
  EXPECT_EQ(received_segment_bytes(header), 0U);
}

TEST_F(NativeDatagrams, SomeErrorsMayBeAboutSegments) {
  EXPECT_FALSE(knows_segments(-1));
  EXPECT_FALSE(receive_segments(-1));
  for (const int each : {EINVAL, EMSGSIZE, EIO}) {
    EXPECT_TRUE(concerns_segments(asio::error_code(each, asio::error::get_system_category()))) << each;
  }
  EXPECT_FALSE(concerns_segments(asio::error::connection_refused));
  EXPECT_FALSE(concerns_segments(asio::error::would_block));
  EXPECT_FALSE(concerns_segments(asio::error::bad_descriptor));
}

}  // namespace
}  // namespace slabbuf::net::detail
