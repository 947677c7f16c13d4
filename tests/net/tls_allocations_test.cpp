// SPDX-License-Identifier: MIT
// What an echo of 64 bytes costs the heap with asio::ssl::stream on both sides, for the table in net/README.md:
// --gtest_output=json:FILE has it as `stock`, allocations per 100 round trips. Ours: openssl_allocator_test.cpp.
#include <slabbuf/net/tls_stream.hpp>

#include "support/counting_allocator.hpp"
#include "support/tls_pair.hpp"

#include <gtest/gtest.h>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace slabbuf {
namespace {

using stream = support::asio_tls_stream;

struct echo {
  void read() {
    connection.async_read_some(asio::buffer(bytes), [this](asio::error_code ec, std::size_t count) {
      if (ec) return;
      asio::async_write(connection, asio::buffer(bytes, count), [this](asio::error_code failed, std::size_t) {
        if (!failed) read();
      });
    });
  }
  stream& connection;
  std::array<std::byte, 64> bytes{};
};

struct client {
  void round_trip() {
    if (count == 100) before = support::heap_allocations_of_this_thread();
    if (count++ == 200) {
      allocations = support::heap_allocations_of_this_thread() - before;
      return connection.lowest_layer().close();
    }
    asio::async_write(connection, asio::buffer(bytes), [this](asio::error_code ec, std::size_t) {
      ASSERT_FALSE(ec);
      asio::async_read(connection, asio::buffer(bytes), [this](asio::error_code failed, std::size_t) {
        ASSERT_FALSE(failed);
        round_trip();
      });
    });
  }
  stream& connection;
  std::array<std::byte, 64> bytes{};
  int count = 0;
  std::uint64_t before = 0;
  std::uint64_t allocations = 0;
};

TEST(net_allocations_of_tls_test, AsioAndOpensslAllocateForEachRoundTrip) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "somebody else's malloc";
  concurrent_pool unused;
  asio::io_context context;
  support::tls_contexts contexts;
  support::basic_tls_pair<stream> pair(context, contexts, unused);
  ASSERT_FALSE(pair.shake_hands().second);
  echo server{pair.server};
  client asks{pair.client};
  server.read();
  asks.round_trip();
  context.run();
  RecordProperty("stock", std::to_string(asks.allocations));
  EXPECT_GT(asks.allocations, 0U);
}

}  // namespace
}  // namespace slabbuf
