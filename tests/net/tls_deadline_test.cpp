// SPDX-License-Identifier: MIT
// Peers that stop in the middle of something, and the deadlines that end it: an error, and nothing is held.
#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using namespace std::chrono_literals;

class TlsDeadline : public ::testing::Test {
 protected:
  // Runs until the server's side has ended; by its deadline, which closes the socket. `composed`: what ends is one of
  // Asio's operations that are made of several of the stream's.
  template <class Stream>
  void expect_expiry(Stream& server, const std::optional<asio::error_code>& ended, bool composed = false) {
    net::deadline_wheel<asio::io_context::executor_type> wheel(io, 1ms);
    net::deadline limit(wheel, [&] { server.next_layer().close(); });
    limit.expires_after(20ms);
    while (!ended) ASSERT_NE(io.run_one(), 0U);
    io.restart();
    // Between two operations of a composed one there is nothing to abort: the next one finds the socket closed.
    if (*ended != asio::error::bad_descriptor || !composed) {
      EXPECT_EQ(*ended, asio::error::operation_aborted);
    }
    EXPECT_TRUE(limit.expired());
    EXPECT_EQ(pool.stats().in_use, 0U);
    EXPECT_EQ(server.held_bytes(), 0U);
  }

  concurrent_pool pool;
  asio::io_context io;
  support::tls_contexts contexts;
};

TEST_F(TlsDeadline, EndsAHandshakeThatDoesNotBegin) {
  support::tls_pair pair(io, contexts, pool);
  std::optional<asio::error_code> ended;
  pair.server.async_handshake(asio::ssl::stream_base::server, [&](asio::error_code ec) { ended = ec; });
  expect_expiry(pair.server, ended);
}

TEST_F(TlsDeadline, EndsAHandshakeThatStopsInTheMiddle) {
  // The first bytes of a ClientHello, of which there are 512.
  const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  for (std::size_t bytes = 1; bytes <= hello.size(); ++bytes) {
    support::tls_pair pair(io, contexts, pool);
    asio::write(pair.client.next_layer(), asio::buffer(hello, bytes));
    std::optional<asio::error_code> ended;
    pair.server.async_handshake(asio::ssl::stream_base::server, [&](asio::error_code ec) { ended = ec; });
    expect_expiry(pair.server, ended);
  }
}

TEST_F(TlsDeadline, EndsAReadOfHalfARecord) {
  for (const bool into_a_block : {false, true}) {
    support::tls_pair pair(io, contexts, pool);
    ASSERT_FALSE(pair.shake_hands().first);
    // The header of a record of 100 bytes, and some of them.
    asio::write(pair.client.next_layer(), asio::buffer("\x17\x03\x03\x00\x64half a record", 18));
    std::optional<asio::error_code> ended;
    std::array<char, 200> bytes;
    if (into_a_block) {
      net::async_read_some(pair.server, pool, [&](asio::error_code ec, const buffer&) { ended = ec; });
    } else {
      pair.server.async_read_some(asio::buffer(bytes), [&](asio::error_code ec, std::size_t) { ended = ec; });
    }
    expect_expiry(pair.server, ended);
  }
}

TEST_F(TlsDeadline, EndsAWriteThatNobodyReads) {
  support::tls_pair pair(io, contexts, pool);
  ASSERT_FALSE(pair.shake_hands().first);
  const std::string much(std::size_t{32} << 20, 'x');
  std::optional<asio::error_code> ended;
  asio::async_write(pair.server, asio::buffer(much), [&](asio::error_code ec, std::size_t) { ended = ec; });
  expect_expiry(pair.server, ended, true);
}

TEST_F(TlsDeadline, EndsAShutdownThatNobodyAnswers) {
  support::tls_pair pair(io, contexts, pool);
  ASSERT_FALSE(pair.shake_hands().first);
  std::optional<asio::error_code> ended;
  pair.server.async_shutdown([&](asio::error_code ec) { ended = ec; });
  expect_expiry(pair.server, ended);
}

}  // namespace
}  // namespace slabbuf
