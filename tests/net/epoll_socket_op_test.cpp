// SPDX-License-Identifier: MIT
// Reads and writes of the caller's buffers: an epoll_socket as a stream of Asio's.
#include <slabbuf/net/detail/epoll_socket_op.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/streambuf.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/epoll_fixture.hpp"

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using support::tcp_epoll_socket;

class EpollSocketOp : public support::epoll_fixture {};

// asio::async_read and the rest, with sequences of no buffer, of empty ones, and of more than one call takes.
TEST_F(EpollSocketOp, IsAStreamOfAsios) {
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{65}, std::size_t{1000}}) {
    SCOPED_TRACE(count);
    pair sockets(context);
    std::string sent(count * 1000, '\0');
    for (std::size_t index = 0; index < sent.size(); ++index) sent[index] = static_cast<char>(index * 7 % 251);
    std::string received(sent.size(), '\0');
    std::string back(sent.size(), '\0');
    std::vector<asio::const_buffer> out;
    std::vector<asio::mutable_buffer> in;
    for (std::size_t index = 0; index < count; ++index) {
      out.emplace_back(sent.data() + index * 1000, 1000);
      out.emplace_back();
      in.emplace_back(received.data() + index * 1000, 1000);
      in.emplace_back();
    }
    int ended = 0;
    asio::async_read(sockets.near, in, [&](asio::error_code ec, std::size_t bytes) {
      EXPECT_FALSE(ec);
      EXPECT_EQ(bytes, sent.size());
      ++ended;
      asio::async_write(sockets.near, out, [&](asio::error_code error, std::size_t written) {
        EXPECT_FALSE(error);
        EXPECT_EQ(written, sent.size());
        ++ended;
      });
    });
    EXPECT_EQ(ended, 0) << "within the call";
    asio::async_write(sockets.far, asio::buffer(sent), [](asio::error_code, std::size_t) {});
    asio::async_read(sockets.far, asio::buffer(back), [&](asio::error_code ec, std::size_t) {
      EXPECT_FALSE(ec);
      ++ended;
    });
    run();
    EXPECT_EQ(ended, 3);
    EXPECT_EQ(received, sent);
    EXPECT_EQ(back, sent);
  }
}

TEST_F(EpollSocketOp, ReadsLinesAndReportsTheEnd) {
  pair sockets(context);
  asio::streambuf line;
  asio::write(sockets.far, asio::buffer(std::string_view("one\ntwo")));
  sockets.far.shutdown(tcp::socket::shutdown_send);
  std::size_t length = 0;
  asio::async_read_until(sockets.near, line, '\n', [&](asio::error_code ec, std::size_t found) {
    EXPECT_FALSE(ec);
    length = found;
  });
  run();
  EXPECT_EQ(length, 4U);
  line.consume(length);
  std::optional<asio::error_code> ended;
  asio::async_read_until(sockets.near, line, '\n', [&](asio::error_code ec, std::size_t) { ended = ec; });
  run();
  EXPECT_EQ(ended, asio::error::eof);
}

TEST_F(EpollSocketOp, ReportsAReset) {
  pair sockets(context);
  std::optional<asio::error_code> read;
  char byte = 0;
  sockets.near.async_read_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { read = ec; });
  context.poll();
  sockets.reset_far();
  run();
  EXPECT_EQ(read, asio::error::connection_reset);
  std::optional<asio::error_code> written;
  sockets.near.async_write_some(asio::buffer(&byte, 1), [&](asio::error_code ec, std::size_t) { written = ec; });
  run();
  EXPECT_EQ(written, asio::error::broken_pipe) << "an error, no signal";
}

}  // namespace
}  // namespace slabbuf
