// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/net/dynamic_chain.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/chain_of_blocks.hpp"
#include "support/handlers.hpp"
#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using support::buffer_of;
using support::on_block;
using support::on_bytes;
using support::on_end;
using support::tls_contexts;
using support::tls_pair;

std::string_view text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

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
  asio::async_write(pair.client, asio::buffer("hello", 5), on_bytes([&](asio::error_code ec, std::size_t count) {
                      EXPECT_FALSE(ec) << ec.message();
                      EXPECT_EQ(count, 5U);
                      ++done;
                    }));
  asio::async_read(pair.server, asio::buffer(there), on_bytes([&](asio::error_code ec, std::size_t) {
                     EXPECT_FALSE(ec) << ec.message();
                     asio::async_write(pair.server, asio::buffer(there),
                                       on_bytes([&](asio::error_code, std::size_t) { ++done; }));
                   }));
  asio::async_read(pair.client, asio::buffer(back), on_bytes([&](asio::error_code ec, std::size_t) {
                     EXPECT_FALSE(ec) << ec.message();
                     ++done;
                   }));
  run_until([&] { return done == 3; });
  EXPECT_EQ(back, "hello");
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, HoldsNoBlockWhileIdle) {
  EXPECT_EQ(in_use(), 0U);
  std::optional<buffer> received;
  net::async_read_some(pair.server, pool, on_block([&](asio::error_code ec, buffer bytes) {
                         EXPECT_FALSE(ec) << ec.message();
                         received = std::move(bytes);
                       }));
  io.poll();
  EXPECT_FALSE(received);
  EXPECT_EQ(in_use(), 0U);
  EXPECT_EQ(pair.server.held_bytes(), 0U);

  net::async_write(pair.client, buffer_of(pool, "now"), on_bytes([](asio::error_code, std::size_t) {}));
  run_until([&] { return received.has_value(); });
  EXPECT_EQ(text_of(*received), "now");
  EXPECT_EQ(in_use(), 1U);
  received.reset();
  EXPECT_EQ(in_use(), 0U);
}

// 100 MiB each way at once, in pieces whose sizes fit neither records nor blocks.
TEST_P(TlsStream, CarriesMuchInBothDirectionsAtOnce) {
  constexpr std::size_t total = std::size_t{100} << 20;
  constexpr std::size_t apart = 54'321;  // what goes one way is nowhere what goes the other
  const std::string bytes_of_both = pattern(total + apart, 1);
  const std::string_view from_client(bytes_of_both.data(), total);
  const std::string_view from_server(bytes_of_both.data() + apart, total);
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
  net::async_write(pair.server, std::move(data), on_bytes([&](asio::error_code ec, std::size_t count) {
                     EXPECT_FALSE(ec) << ec.message();
                     sent = count;
                   }));
  net::async_read_exactly(pair.client, received, pool, total, on_bytes([&](asio::error_code ec, std::size_t count) {
                            EXPECT_FALSE(ec) << ec.message();
                            got = count;
                          }));
  run_until([&] { return sent && got; });
  EXPECT_EQ(*sent, total);
  ASSERT_EQ(received.size(), total);
  std::string text(total, '\0');
  received.copy_out(std::as_writable_bytes(std::span(text)));
  EXPECT_TRUE(text == expected);
  received.clear();

  got.reset();
  net::async_write(pair.client, buffer_of(pool, "one\r\ntwo"), on_bytes([](asio::error_code, std::size_t) {}));
  net::async_read_until(pair.server, received, pool, "\r\n", on_bytes([&](asio::error_code ec, std::size_t count) {
                          EXPECT_FALSE(ec) << ec.message();
                          got = count;
                        }));
  run_until([&] { return got.has_value(); });
  EXPECT_EQ(*got, 5U);
  received.clear();
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, AsiosReadUntilTakesIt) {
  std::optional<std::size_t> sent, got;
  asio::async_write(pair.client, asio::buffer("one\r\ntwo\r\n", 10),
                    on_bytes([&](asio::error_code ec, std::size_t count) {
                      EXPECT_FALSE(ec) << ec.message();
                      sent = count;
                    }));
  std::string text;
  asio::async_read_until(pair.server, asio::dynamic_buffer(text), "\r\n",
                         on_bytes([&](asio::error_code ec, std::size_t count) {
                           EXPECT_FALSE(ec) << ec.message();
                           got = count;
                         }));
  run_until([&] { return sent && got; });
  EXPECT_EQ(*got, 5U);
  EXPECT_EQ(text.substr(0, *got), "one\r\n");

  buffer_chain chain;
  chain.append_copy(pool, std::as_bytes(std::span(text).subspan(*got)));
  got.reset();
  asio::async_read_until(pair.server, net::dynamic_chain(chain, pool), "\r\n",
                         on_bytes([&](asio::error_code ec, std::size_t count) {
                           EXPECT_FALSE(ec) << ec.message();
                           got = count;
                         }));
  run_until([&] { return got.has_value(); });
  EXPECT_EQ(*got, 5U);
  chain.clear();
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, ReadsSeveralRecordsAtOnce) {
  for (const std::string_view each : {"one ", "two ", "three"}) {
    std::optional<std::size_t> sent;
    asio::async_write(pair.client, asio::buffer(each),
                      on_bytes([&](asio::error_code, std::size_t count) { sent = count; }));
    run_until([&] { return sent.has_value(); });
  }
  std::optional<buffer> received;
  net::async_read_some(pair.server, pool,
                       on_block([&](asio::error_code, buffer bytes) { received = std::move(bytes); }));
  run_until([&] { return received.has_value(); });
  EXPECT_EQ(text_of(*received), "one two three");
  received.reset();
}

TEST_P(TlsStream, DeliversWhatCameBeforeTheEnd) {
  std::optional<std::size_t> sent;
  asio::async_write(pair.client, asio::buffer("end", 3),
                    on_bytes([&](asio::error_code, std::size_t count) { sent = count; }));
  run_until([&] { return sent.has_value(); });
  pair.client.async_shutdown(on_end([](asio::error_code) {}));
  std::optional<asio::error_code> ended;
  std::string text;
  net::async_read_some(pair.server, pool, on_block([&](asio::error_code ec, buffer bytes) {
                         EXPECT_FALSE(ec) << ec.message();
                         text = text_of(bytes);
                         bytes.release();
                         net::async_read_some(pair.server, pool,
                                              on_block([&](asio::error_code failed, const buffer& nothing) {
                                                EXPECT_FALSE(nothing);
                                                ended = failed;
                                              }));
                       }));
  run_until([&] { return ended.has_value(); });
  EXPECT_EQ(text, "end");
  EXPECT_EQ(*ended, asio::error::eof);
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, LosesNothingWhenTheBudgetHasNoRoom) {
  concurrent_pool tight({.budget_bytes_max = net::read_bytes_default});
  buffer in_the_way = tight.acquire(net::read_bytes_default);
  std::optional<asio::error_code> ended;
  std::string text;
  const auto read = [&] {
    ended.reset();
    net::async_read_some(pair.server, tight, on_block([&](asio::error_code ec, const buffer& bytes) {
                           ended = ec;
                           text = text_of(bytes);
                         }));
    run_until([&] { return ended.has_value(); });
  };
  net::async_write(pair.client, buffer_of(pool, "later"), on_bytes([](asio::error_code, std::size_t) {}));
  read();
  EXPECT_EQ(*ended, asio::error::no_buffer_space);
  in_the_way.release();
  read();
  EXPECT_FALSE(*ended) << ended->message();
  EXPECT_EQ(text, "later");
  EXPECT_EQ(tight.stats().in_use, 0U);
}

TEST_P(TlsStream, ClearsDecryptedBytesInAPoolThatClearsNothing) {
  concurrent_pool careless({.zero = zeroing::none});
  const std::byte* address = nullptr;
  std::size_t block_bytes = 0;
  net::async_write(pair.client, buffer_of(pool, "secret"), on_bytes([](asio::error_code, std::size_t) {}));
  net::async_read_some(pair.server, careless, on_block([&](asio::error_code, buffer bytes) {
                         address = std::as_const(bytes).data();
                         block_bytes = bytes.capacity();
                         EXPECT_EQ(text_of(bytes), "secret");
                       }));
  run_until([&] { return address != nullptr && careless.stats().in_use == 0; });
  EXPECT_EQ(block_bytes, 8U);
  const buffer again = careless.acquire(block_bytes);
  ASSERT_EQ(again.data(), address);
  EXPECT_EQ(text_of(again).substr(0, 6), std::string(6, '\0'));
}

// A handler with a name is copied, and may start the operation that follows.
TEST_P(TlsStream, HandlersWithANameStayWithTheirOwner) {
  std::string received;
  std::array<char, 100> bytes{};
  int written = 0;
  const std::string text = "x";
  on_bytes on_read = [&](asio::error_code ec, std::size_t count) {
    ASSERT_FALSE(ec);
    received.append(bytes.data(), count);
    if (received.size() < 3) pair.server.async_read_some(asio::buffer(bytes), on_read);
  };
  on_bytes on_write = [&](asio::error_code ec, std::size_t) {
    ASSERT_FALSE(ec);
    if (++written == 1) pair.client.async_write_some(asio::buffer(text), on_write);
    if (written == 2) net::async_write(pair.client, buffer_of(pool, text), on_write);
  };
  pair.server.async_read_some(asio::buffer(bytes), on_read);
  pair.client.async_write_some(asio::buffer(text), on_write);
  run_until([&] { return written == 3 && received.size() == 3; });
  EXPECT_TRUE(on_read);
  EXPECT_TRUE(on_write);
  on_block on_nothing = [](asio::error_code, const buffer&) {};
  net::async_read_some(pair.server, pool, on_nothing);
  EXPECT_TRUE(on_nothing);
}

TEST_P(TlsStream, ACancelledWriteIsTheLastOne) {
  const std::string data(std::size_t{100} << 10, 'x');
  asio::cancellation_signal cancel;
  std::optional<asio::error_code> ended;
  do {  // until the socket is full in the middle of one
    ended.reset();
    pair.server.async_write_some(
        asio::buffer(data),
        asio::bind_cancellation_slot(cancel.slot(), on_bytes([&](asio::error_code ec, std::size_t) { ended = ec; })));
    io.poll();
    io.restart();
  } while (ended);
  cancel.emit(asio::cancellation_type::total);
  io.poll();
  io.restart();
  EXPECT_FALSE(ended) << "a part has been sent";
  cancel.emit(asio::cancellation_type::partial);
  run_until([&] { return ended.has_value(); });
  EXPECT_EQ(*ended, asio::error::operation_aborted);
  EXPECT_EQ(in_use(), 0U);

  ended.reset();
  asio::async_write(pair.server, asio::buffer("x", 1), on_bytes([&](asio::error_code ec, std::size_t) { ended = ec; }));
  run_until([&] { return ended.has_value(); });
  EXPECT_EQ(*ended, asio::error::broken_pipe);
}

TEST_P(TlsStream, AHandshakeCanBeCancelled) {
  tls_pair other(io, contexts, pool);
  asio::cancellation_signal cancel;
  std::optional<asio::error_code> ended;
  other.server.async_handshake(
      asio::ssl::stream_base::server,
      asio::bind_cancellation_slot(cancel.slot(), on_end([&](asio::error_code ec) { ended = ec; })));
  io.poll();
  io.restart();
  cancel.emit(asio::cancellation_type::terminal);
  run_until([&] { return ended.has_value(); });
  EXPECT_EQ(*ended, asio::error::operation_aborted);
}

TEST_P(TlsStream, GivesEverythingBackWhenTheContextDies) {
  {
    asio::io_context dying;
    tls_pair other(dying, contexts, pool);
    other.shake_hands();
    net::async_read_some(other.server, pool, on_block([](asio::error_code, const buffer&) { FAIL(); }));
    net::async_write(other.server, buffer_of(pool, std::string(std::size_t{32} << 20, 'x')),
                     on_bytes([](asio::error_code, std::size_t) { FAIL(); }));
    dying.poll();
    EXPECT_GT(in_use(), 0U);
  }
  EXPECT_EQ(in_use(), 0U);
}

TEST_P(TlsStream, NeverCallsAHandlerWithinTheCall) {
  bool called = false;
  net::async_write(pair.server, buffer{}, on_bytes([&](asio::error_code ec, std::size_t count) {
                     EXPECT_FALSE(ec);
                     EXPECT_EQ(count, 0U);
                     called = true;
                   }));
  EXPECT_FALSE(called);
  run_until([&] { return called; });
}

TEST_P(TlsStream, CompletesOnTheHandlersExecutorAndTakesAFuture) {
  asio::io_context elsewhere;
  bool called = false;
  net::async_read_some(pair.server, pool,
                       asio::bind_executor(elsewhere, on_block([&](asio::error_code, const buffer& bytes) {
                                             EXPECT_EQ(text_of(bytes), "here");
                                             called = true;
                                           })));
  std::future<std::size_t> sent = asio::async_write(pair.client, asio::buffer("here", 4), asio::use_future);
  while (sent.wait_for(std::chrono::seconds(0)) != std::future_status::ready) io.run_one();
  EXPECT_EQ(sent.get(), 4U);
  while (!called) {
    io.restart();
    io.poll();
    elsewhere.restart();
    elsewhere.poll();
  }
}

TEST_P(TlsStream, MovesWhileIdle) {
  support::pool_tls_stream moved(std::move(pair.server));
  std::optional<std::size_t> sent;
  asio::async_write(moved, asio::buffer("moved", 5),
                    on_bytes([&](asio::error_code, std::size_t count) { sent = count; }));
  std::string text(5, '\0');
  bool received = false;
  asio::async_read(pair.client, asio::buffer(text), on_bytes([&](asio::error_code, std::size_t) { received = true; }));
  run_until([&] { return sent && received; });
  EXPECT_EQ(text, "moved");
}

TEST(TlsStreamSetup, WorksOverAReferenceAndALocalPool) {
  local_pool pool;
  asio::io_context io;
  tls_contexts contexts;
  support::loopback_pair sockets(io);
  net::tls_stream<support::tls_socket&> server(sockets.near, contexts.server, pool);
  net::tls_stream<decltype(sockets.far)&> client(sockets.far, contexts.client.native_handle(), pool);
  EXPECT_EQ(&server.next_layer(), &sockets.near);
  EXPECT_EQ(&server.lowest_layer(), &sockets.near.lowest_layer());
  int done = 0;
  const auto count = [&](asio::error_code ec) {
    EXPECT_FALSE(ec) << ec.message();
    ++done;
  };
  server.async_handshake(asio::ssl::stream_base::server, count);
  client.async_handshake(asio::ssl::stream_base::client, count);
  io.run();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(TlsStreamSetup, ShakesManyHandsAtOnceUnderABudgetForFew) {
  constexpr std::size_t budget = std::size_t{16} << 10;
  constexpr int connections = 200;
  concurrent_pool tight({.budget_bytes_max = budget});
  asio::io_context io;
  tls_contexts contexts;
  std::vector<std::unique_ptr<tls_pair>> pairs;
  int done = 0;
  const auto count = [&](asio::error_code ec) {
    EXPECT_FALSE(ec) << ec.message();
    ++done;
  };
  for (int index = 0; index < connections; ++index) {
    pairs.push_back(std::make_unique<tls_pair>(io, contexts, tight));
    pairs.back()->server.async_handshake(asio::ssl::stream_base::server, count);
    pairs.back()->client.async_handshake(asio::ssl::stream_base::client, count);
  }
  io.run();
  EXPECT_EQ(done, 2 * connections);
  EXPECT_LE(tight.stats().bytes_high_water, budget);
  EXPECT_EQ(tight.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
