// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/native_io.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <string>
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

TEST_F(NativeIo, SendTakesWhatThereIsRoomForAndThenSaysSo) {
  std::vector<std::byte> bytes(std::size_t{32} << 20);
  std::array<::iovec, 2> parts{{{bytes.data(), 1000}, {bytes.data(), bytes.size()}}};
  const std::size_t sent = send_now(pair.near.native_handle(), parts, ec);
  EXPECT_FALSE(ec);
  EXPECT_GT(sent, 1000U);
  EXPECT_LT(sent, 1000 + bytes.size());
  while (!ec) send_now(pair.near.native_handle(), {&parts[1], 1}, ec);
  EXPECT_EQ(ec, asio::error::would_block);
}

TEST_F(NativeIo, ErrorsOfTheSystemArrive) {
  EXPECT_EQ(receive_now(-1, space, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  std::array<::iovec, 2> parts{{{space.data(), 1}, {space.data(), 1}}};
  for (const std::size_t count : std::array<std::size_t, 2>{1, 2}) {
    ec.clear();
    EXPECT_EQ(send_now(-1, std::span(parts).first(count), ec), 0U);
    EXPECT_EQ(ec, asio::error::bad_descriptor);
  }
}

TEST_F(NativeIo, SendsPartsInOrder) {
  std::string first = "one ";
  std::string second = "two";
  std::array<::iovec, 2> parts{{{first.data(), first.size()}, {second.data(), second.size()}}};
  ec = asio::error::eof;
  EXPECT_EQ(send_now(pair.near.native_handle(), parts, ec), 7U);
  EXPECT_FALSE(ec);
  std::string seen(7, '?');
  asio::read(pair.far, asio::buffer(seen));
  EXPECT_EQ(seen, "one two");
}

}  // namespace
}  // namespace slabbuf::net::detail
