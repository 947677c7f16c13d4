// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using support::tls_contexts;
using support::tls_pair;

std::string_view text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

buffer buffer_of(concurrent_pool& pool, std::string_view text) {
  buffer made = pool.acquire(text.size());
  std::memcpy(made.data(), text.data(), text.size());
  return made;
}

// Bytes that differ at every position of a record and of a block.
std::string pattern(std::size_t count, unsigned seed) {
  std::string made(count, '\0');
  unsigned state = seed;
  for (char& each : made) {
    state = state * 1664525U + 1013904223U;
    each = static_cast<char>(state >> 24);
  }
  return made;
}

// The parameter is the version of the protocol.
class TlsStream : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const auto [server, client] = pair.shake_hands();
    ASSERT_FALSE(server) << server.message();
    ASSERT_FALSE(client) << client.message();
  }
  template <class Done>
  void run_until(const Done& done) {
    while (!done()) ASSERT_NE(io.run_one(), 0U);
    io.restart();
  }
  std::uint64_t in_use() const { return pool.stats().in_use; }

  concurrent_pool pool;
  asio::io_context io;
  tls_contexts contexts{GetParam()};
  tls_pair pair{io, contexts, pool};
};

INSTANTIATE_TEST_SUITE_P(Versions, TlsStream, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

TEST_P(TlsStream, CarriesBytesBothWays) {
  std::string there(5, '\0');
  std::string back(5, '\0');
  int done = 0;
  asio::async_write(pair.client, asio::buffer("hello", 5), [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec) << ec.message();
    EXPECT_EQ(count, 5U);
    ++done;
  });
  asio::async_read(pair.server, asio::buffer(there), [&](asio::error_code ec, std::size_t) {
    EXPECT_FALSE(ec) << ec.message();
    asio::async_write(pair.server, asio::buffer(there), [&](asio::error_code, std::size_t) { ++done; });
  });
  asio::async_read(pair.client, asio::buffer(back), [&](asio::error_code ec, std::size_t) {
    EXPECT_FALSE(ec) << ec.message();
    ++done;
  });
  run_until([&] { return done == 3; });
  EXPECT_EQ(back, "hello");
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, HoldsNoBlockWhileIdle) {
  EXPECT_EQ(in_use(), 0U);
  std::optional<buffer> received;
  net::async_read_some(pair.server, pool, [&](asio::error_code ec, buffer bytes) {
    EXPECT_FALSE(ec) << ec.message();
    received = std::move(bytes);
  });
  io.poll();
  EXPECT_FALSE(received);
  EXPECT_EQ(in_use(), 0U);
  EXPECT_EQ(pair.server.held_bytes(), 0U);

  net::async_write(pair.client, buffer_of(pool, "now"), [](asio::error_code, std::size_t) {});
  run_until([&] { return received.has_value(); });
  EXPECT_EQ(text_of(*received), "now");
  EXPECT_EQ(in_use(), 1U);
  received.reset();
  EXPECT_EQ(in_use(), 0U);
}

// 20 MiB each way at once, in pieces whose sizes fit neither records nor blocks.
TEST_P(TlsStream, CarriesMuchInBothDirectionsAtOnce) {
  constexpr std::size_t total = std::size_t{20} << 20;
  const std::string from_client = pattern(total, 1);
  const std::string from_server = pattern(total, 2);
  std::string at_server(total, '\0');
  std::string at_client(total, '\0');
  int done = 0;
  const auto count = [&](asio::error_code ec, std::size_t bytes) {
    EXPECT_FALSE(ec) << ec.message();
    EXPECT_EQ(bytes, total);
    ++done;
  };
  // Gathers of parts smaller and larger than a record.
  std::vector<asio::const_buffer> parts;
  for (std::size_t at = 0, size = 1; at < total; size = size * 3 % 70001 + 1) {
    const std::size_t part = std::min(size, total - at);
    parts.emplace_back(from_client.data() + at, part);
    at += part;
  }
  asio::async_write(pair.client, parts, count);
  asio::async_write(pair.server, asio::buffer(from_server), asio::transfer_all(), count);
  asio::async_read(pair.server, asio::buffer(at_server), count);
  asio::async_read(pair.client, asio::buffer(at_client), count);
  run_until([&] { return done == 4; });
  EXPECT_TRUE(at_server == from_client);
  EXPECT_TRUE(at_client == from_server);
  EXPECT_EQ(in_use(), 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST_P(TlsStream, WritesChainsAndReadsMessages) {
  buffer_chain data;
  std::string expected;
  for (unsigned index = 0; index < 200; ++index) {
    const std::string piece = pattern(index * 37 % 9000 + 1, index);
    data.append(buffer_of(pool, piece));
    expected += piece;
  }
  const std::size_t total = data.size();
  buffer_chain received;
  std::optional<std::size_t> sent, got;
  net::async_write(pair.server, std::move(data), [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec) << ec.message();
    sent = count;
  });
  net::async_read_exactly(pair.client, received, pool, total, [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec) << ec.message();
    got = count;
  });
  run_until([&] { return sent && got; });
  EXPECT_EQ(*sent, total);
  ASSERT_EQ(received.size(), total);
  std::string text(total, '\0');
  received.copy_out(std::as_writable_bytes(std::span(text)));
  EXPECT_TRUE(text == expected);
  received.clear();

  got.reset();
  net::async_write(pair.client, buffer_of(pool, "one\r\ntwo"), [](asio::error_code, std::size_t) {});
  net::async_read_until(pair.server, received, pool, "\r\n", [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec) << ec.message();
    got = count;
  });
  run_until([&] { return got.has_value(); });
  EXPECT_EQ(*got, 5U);
  received.clear();
  EXPECT_EQ(in_use(), 0U);
}

}  // namespace
}  // namespace slabbuf
