// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/native_datagrams.hpp>

#include <gtest/gtest.h>
#include <sys/uio.h>
#include <asio/io_context.hpp>

#include <array>
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

}  // namespace
}  // namespace slabbuf::net::detail
