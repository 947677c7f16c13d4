// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/native_io.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "support/loopback_pair.hpp"

namespace slabbuf::net::detail {
namespace {

class NativeIo : public ::testing::Test {
 protected:
  asio::io_context context;
  support::loopback_pair pair{context};
  std::array<std::byte, 16> space{};
  asio::error_code ec;
};

TEST_F(NativeIo, ReceiveWouldBlockOnABlockingSocketToo) {
  ASSERT_FALSE(pair.near.non_blocking());
  EXPECT_EQ(receive_now(pair.near.native_handle(), space, ec), 0U);
  EXPECT_EQ(ec, asio::error::would_block);
}

TEST_F(NativeIo, ReceiveTellsBytesFromTheEnd) {
  asio::write(pair.far, asio::buffer(std::string_view("abc")));
  pair.far.shutdown(asio::socket_base::shutdown_send);
  pair.near.wait(asio::socket_base::wait_read);
  ec = asio::error::eof;
  EXPECT_EQ(receive_now(pair.near.native_handle(), space, ec), 3U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(receive_now(pair.near.native_handle(), space, ec), 0U);
  EXPECT_EQ(ec, asio::error::eof);
}

TEST_F(NativeIo, SendStopsWhenTheSocketIsFull) {
  const std::vector<std::byte> bytes(std::size_t{32} << 20);
  const std::size_t sent = send_now(pair.near.native_handle(), bytes, ec);
  EXPECT_EQ(ec, asio::error::would_block);
  EXPECT_GT(sent, 0U);
  EXPECT_LT(sent, bytes.size());
}

TEST_F(NativeIo, ErrorsOfTheSystemArrive) {
  EXPECT_EQ(receive_now(-1, space, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_EQ(send_now(-1, space, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
}

TEST_F(NativeIo, SendOfNothingIsNoError) {
  ec = asio::error::eof;
  EXPECT_EQ(send_now(pair.near.native_handle(), {}, ec), 0U);
  EXPECT_FALSE(ec);
}

}  // namespace
}  // namespace slabbuf::net::detail
