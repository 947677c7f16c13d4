// SPDX-License-Identifier: MIT
// Chains through asio::ssl::stream, which treats its buffers in ways of its own: it reads into the first that is not
// empty, and copies what it writes, up to 8 KiB at a time, unless the first buffer has so much.
#include <slabbuf/net/chain_view.hpp>

#include <slabbuf/net/dynamic_chain.hpp>
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/ssl.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "support/chain_of_blocks.hpp"
#include "support/loopback_pair.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf {
namespace {

using net::chain_view;
using net::const_chain_view;
using support::buffer_of;
using support::text_of;
using tls_stream = asio::ssl::stream<support::loopback_pair::socket&>;

std::string letters(std::size_t count, char first) {
  std::string text(count, first);
  for (std::size_t index = 0; index < count; ++index)
    text[index] = static_cast<char>(first + static_cast<int>(index % 26));
  return text;
}

// Both ends of a connection, shaken hands.
class tls_pair {
 public:
  tls_pair() {
    int finished = 0;
    const auto handler = [&finished](asio::error_code ec) {
      EXPECT_FALSE(ec) << ec.message();
      ++finished;
    };
    near.async_handshake(tls_stream::client, handler);
    far.async_handshake(tls_stream::server, handler);
    run();
    EXPECT_EQ(finished, 2);
  }

  void run() {
    context.restart();
    context.run();
  }

  // Writes `from` at the near end while the far one reads as many bytes.
  std::string written(const buffer_chain& from) {
    std::string seen(from.size(), '?');
    asio::async_write(near, const_chain_view(from), [&](asio::error_code ec, std::size_t count) {
      EXPECT_FALSE(ec) << ec.message();
      EXPECT_EQ(count, from.size());
    });
    asio::async_read(far, asio::buffer(seen), [](asio::error_code ec, std::size_t) { EXPECT_FALSE(ec); });
    run();
    return seen;
  }

  // Writes `text` at the far end while the near one reads into `into` until it is full.
  void read(buffer_chain& into, const std::string& text) {
    asio::async_write(far, asio::buffer(text), [](asio::error_code ec, std::size_t) { EXPECT_FALSE(ec); });
    asio::async_read(near, chain_view(into), [&](asio::error_code ec, std::size_t count) {
      EXPECT_FALSE(ec) << ec.message();
      EXPECT_EQ(count, into.size());
    });
    run();
  }

  asio::io_context context;

 private:
  static asio::ssl::context server_context() {
    asio::ssl::context made(asio::ssl::context::tls_server);
    support::set_up(made.native_handle(), &support::server_certificate());
    return made;
  }

  asio::ssl::context server_ = server_context();
  asio::ssl::context client_{asio::ssl::context::tls_client};
  support::loopback_pair sockets_{context};

 public:
  tls_stream near{sockets_.near, client_};
  tls_stream far{sockets_.far, server_};
};

class chain_view_ssl_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  local_pool pool_;
  tls_pair pair_;
};
INSTANTIATE_TEST_SUITE_P(blocks, chain_view_ssl_test, ::testing::Values(0, 1, 2, 17, 64, 65),
                         [](const auto& each) { return std::to_string(each.param); });

// Blocks of up to 5, 700 and 20,000 bytes: several to a record, and several records to a block.
TEST_P(chain_view_ssl_test, IsWrittenWhole) {
  for (const std::size_t bytes_max : {5U, 700U, 20'000U}) {
    std::string expected;
    const buffer_chain chain = support::chain_of_blocks(pool_, GetParam(), bytes_max, expected);
    EXPECT_TRUE(pair_.written(chain) == expected);
  }
}

TEST_P(chain_view_ssl_test, IsReadIntoWhole) {
  for (const std::size_t bytes_max : {5U, 700U, 20'000U}) {
    std::string before;
    buffer_chain chain = support::chain_of_blocks(pool_, GetParam(), bytes_max, before);
    const std::string fresh = letters(before.size(), 'A');
    pair_.read(chain, fresh);
    EXPECT_TRUE(text_of(chain) == fresh);
  }
}

// Around the 8 KiB up to which it copies.
class chain_view_ssl_first_block_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  local_pool pool_;
  tls_pair pair_;
};
INSTANTIATE_TEST_SUITE_P(bytes, chain_view_ssl_first_block_test,
                         ::testing::Values(1, 8191, 8192, 8193, 16384, 16385, 100'000),
                         [](const auto& each) { return std::to_string(each.param); });

TEST_P(chain_view_ssl_first_block_test, MayHaveAnySize) {
  const std::string first = letters(GetParam(), 'a');
  const std::string second = letters(10'000, 'A');
  buffer_chain chain(buffer_of(pool_, first));
  chain.append(buffer_of(pool_, second));
  EXPECT_TRUE(pair_.written(chain) == first + second);
  const std::string fresh = letters(first.size() + second.size(), '0');
  pair_.read(chain, fresh);
  EXPECT_TRUE(text_of(chain) == fresh);
}

// A chain has no place for them; for ssl::stream, an empty buffer in front would be the end of the stream.
TEST(chain_view_ssl_empty_test, EmptyBlocksAreNoEnd) {
  local_pool pool;
  tls_pair pair;
  buffer_chain chain;
  std::string expected;
  for (const std::size_t bytes : {0U, 0U, 10U, 0U, 9000U, 0U, 0U, 20U, 0U}) {
    const std::string text = letters(bytes, 'a');
    chain.append(buffer_of(pool, text));
    expected += text;
  }
  EXPECT_TRUE(pair.written(chain) == expected);
  const std::string fresh = letters(expected.size(), 'A');
  pair.read(chain, fresh);
  EXPECT_TRUE(text_of(chain) == fresh);
}

TEST(chain_view_ssl_dynamic_test, GrowsUntilTheDelimiterCame) {
  concurrent_pool pool({.size_classes = size_class_table({64, 512, 4096})});
  tls_pair pair;
  const std::string text = letters(30'000, 'a') + "\r\n" + letters(100, 'A');
  buffer_chain chain;
  std::size_t found = 0;
  asio::async_write(pair.far, asio::buffer(text), [](asio::error_code ec, std::size_t) { EXPECT_FALSE(ec); });
  asio::async_read_until(pair.near, net::dynamic_chain(chain, pool), "\r\n",
                         [&](asio::error_code ec, std::size_t count) {
                           EXPECT_FALSE(ec) << ec.message();
                           found = count;
                         });
  pair.run();
  EXPECT_EQ(found, 30'002U);
  EXPECT_TRUE(text_of(chain) == text.substr(0, chain.size()));
}

}  // namespace
}  // namespace slabbuf
