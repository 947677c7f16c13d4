// SPDX-License-Identifier: MIT
// The engine against peers that mean no good, and lines that fail: two engines with a relay between them that cuts,
// delays and adds. Whatever happens, it ends in an error, and nothing is left in the pool.
#include <slabbuf/net/detail/tls_engine.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/seeded_random.hpp"
#include "support/tls_engines.hpp"

namespace slabbuf::net::detail {
namespace {

using support::descriptor_pair;
using support::wants;

constexpr std::size_t no_limit = SIZE_MAX;

// One side: what it has to do, and how that ended.
struct side {
  side(SSL_CTX* context, concurrent_pool& pool, bool server) : engine(context, pool.core()), is_server(server) {}

  // Shakes hands, sends its message, receives the peer's, shuts down.
  void step() {
    if (ended) return;
    tls_result result;
    switch (stage) {
      case 0: result = engine.handshake(line.ends[0], is_server); break;
      case 1: {
        const ::iovec part{message.data(), message.size()};
        result = engine.write(line.ends[0], {&part, 1}, taken);
        break;
      }
      case 2: {
        std::array<char, 100> bytes;
        const ::iovec part{bytes.data(), bytes.size()};
        std::size_t count = 0;
        result = engine.read(line.ends[0], {&part, 1}, count);
        received.append(bytes.data(), count);
        if (result.status == tls_status::done && received.size() < message.size()) return;
        break;
      }
      default: result = engine.shutdown(line.ends[0]);
    }
    if (wants(result)) return;
    if (result.status != tls_status::done || stage == 3) {
      ended = result;
    } else {
      ++stage;
    }
  }

  tls_engine engine;
  bool is_server;
  descriptor_pair line;
  int stage = 0;
  std::size_t taken = 0;
  std::string message = "sixty-four bytes or so that are sent from one side to the other";
  std::string received;
  std::optional<tls_result> ended;
};

// Moves bytes from one side to the other, as many as are allowed; then it is as if the sender had gone.
struct relay {
  relay(side& sender, side& receiver, std::size_t allowed)
      : from(sender.line.ends[1]), to(receiver.line.ends[1]), left(allowed) {}

  bool move(std::size_t at_once) {
    std::array<char, 4096> bytes;
    const ::ssize_t got = ::recv(from, bytes.data(), std::min(bytes.size(), at_once), 0);
    if (got <= 0) return false;
    const std::size_t count = std::min(static_cast<std::size_t>(got), left);
    const ::ssize_t sent = count != 0 ? ::send(to, bytes.data(), count, MSG_NOSIGNAL) : 0;
    EXPECT_EQ(sent, static_cast<::ssize_t>(count));
    left -= count;
    total += count;
    if (left == 0 && !cut) {
      cut = true;
      ::shutdown(to, SHUT_WR);
    }
    return true;
  }

  int from;
  int to;
  std::size_t left;
  std::size_t total = 0;
  bool cut = false;
};

class TlsHostilePeer : public ::testing::TestWithParam<int> {
 protected:
  struct outcome {
    tls_result server, client;
    std::size_t to_server, to_client;
  };

  // An exchange of which at most so many bytes reach the other side, in pieces.
  outcome exchange(std::size_t to_server, std::size_t to_client, std::size_t at_once = no_limit) {
    side server(server_context.get(), pool, true);
    side client(client_context.get(), pool, false);
    relay up(client, server, to_server);
    relay down(server, client, to_client);
    for (int idle = 0; idle < 3;) {
      client.step();
      server.step();
      const bool moved = up.move(at_once);
      idle = down.move(at_once) || moved ? 0 : idle + 1;
      // Who has ended is gone.
      if (client.ended && idle == 2) ::shutdown(client.line.ends[0], SHUT_WR), ::shutdown(up.to, SHUT_WR);
      if (server.ended && idle == 2) ::shutdown(down.to, SHUT_WR);
      if (client.ended && server.ended) break;
    }
    EXPECT_EQ(server.engine.held_bytes() + client.engine.held_bytes(), 0U);
    EXPECT_EQ(pool.stats().in_use, 0U);
    const tls_result never{tls_status::want_read};
    return {server.ended.value_or(never), client.ended.value_or(never), up.total, down.total};
  }

  static bool is_good(const tls_result& result) {
    return result.status == tls_status::done || result.status == tls_status::end_of_stream;
  }

  concurrent_pool pool;
  support::context_ptr server_context =
      support::make_context(TLS_server_method(), &support::server_certificate(), GetParam());
  support::context_ptr client_context = support::make_context(TLS_client_method(), nullptr, GetParam());
};

INSTANTIATE_TEST_SUITE_P(Versions, TlsHostilePeer, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

TEST_P(TlsHostilePeer, CompletesAnExchange) {
  const outcome all = exchange(no_limit, no_limit);
  EXPECT_TRUE(is_good(all.server)) << static_cast<int>(all.server.status);
  EXPECT_TRUE(is_good(all.client)) << static_cast<int>(all.client.status);
}

TEST_P(TlsHostilePeer, TakesSegmentsOfOneByte) {
  const outcome all = exchange(no_limit, no_limit, 1);
  EXPECT_TRUE(is_good(all.server)) << static_cast<int>(all.server.status);
  EXPECT_TRUE(is_good(all.client)) << static_cast<int>(all.client.status);
}

TEST_P(TlsHostilePeer, SaysTruncatedWhereverItsInputEnds) {
  const outcome all = exchange(no_limit, no_limit);
  for (std::size_t bytes = 1; bytes < all.to_server; ++bytes) {
    const outcome cut = exchange(bytes, no_limit);
    // A few bytes more or less: signatures differ in length.
    ASSERT_TRUE(cut.server.status == tls_status::truncated || bytes + 16 >= all.to_server) << bytes;
  }
  for (std::size_t bytes = 1; bytes < all.to_client; ++bytes) {
    const outcome cut = exchange(no_limit, bytes);
    ASSERT_TRUE(cut.client.status == tls_status::truncated || bytes + 16 >= all.to_client) << bytes;
  }
}

TEST_P(TlsHostilePeer, RefusesGarbage) {
  support::seeded_random random(505);
  for (int round = 0; round < 300; ++round) {
    side server(server_context.get(), pool, true);
    std::string noise(random.between(5, 3000), '\0');
    for (char& each : noise) each = static_cast<char>(random.between(0, 255));
    // Some of it looks like a handshake record at first.
    if (round % 3 != 0) noise.replace(0, 3, "\x16\x03\x01");
    ASSERT_EQ(::send(server.line.ends[1], noise.data(), noise.size(), 0), static_cast<::ssize_t>(noise.size()));
    ::shutdown(server.line.ends[1], SHUT_WR);
    for (int step = 0; step < 10 && !server.ended; ++step) server.step();
    ASSERT_TRUE(server.ended);
    EXPECT_FALSE(is_good(*server.ended));
    EXPECT_EQ(server.engine.held_bytes(), 0U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// Bits that are turned over on the way are found by the receiver.
TEST_P(TlsHostilePeer, RefusesRecordsThatWereChanged) {
  support::seeded_random random(506);
  for (int round = 0; round < 50; ++round) {
    side server(server_context.get(), pool, true);
    side client(client_context.get(), pool, false);
    relay up(client, server, no_limit);
    relay down(server, client, no_limit);
    while (server.stage == 0 || client.stage == 0) {
      if (client.stage == 0) client.step();
      if (server.stage == 0) server.step();
      up.move(no_limit);
      down.move(no_limit);
    }
    server.stage = 2;
    while (up.move(no_limit)) continue;
    client.step();
    std::array<char, 300> record;
    const ::ssize_t length = ::recv(up.from, record.data(), record.size(), 0);
    ASSERT_GT(length, 60);
    record[random.between(5, static_cast<std::size_t>(length) - 1)] ^= static_cast<char>(1 << random.between(0, 6));
    ASSERT_EQ(::send(up.to, record.data(), static_cast<std::size_t>(length), 0), length);
    for (int step = 0; step < 10 && !server.ended; ++step) server.step();
    ASSERT_TRUE(server.ended);
    EXPECT_EQ(server.ended->status, tls_status::openssl);
    EXPECT_TRUE(server.received.empty());
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

// Before the handshake and after it, a length beyond what the version allows.
TEST_P(TlsHostilePeer, RefusesRecordsThatAreTooLong) {
  for (const std::size_t length : {std::size_t{18'433}, std::size_t{65'535}}) {
    std::string record("\x16\x03\x03??", 5);
    record[3] = static_cast<char>(length >> 8);
    record[4] = static_cast<char>(length & 0xff);
    record.append(length, 'x');
    side early(server_context.get(), pool, true);
    ASSERT_EQ(::send(early.line.ends[1], record.data(), record.size(), 0), static_cast<::ssize_t>(record.size()));
    for (int step = 0; step < 10 && !early.ended; ++step) early.step();
    ASSERT_TRUE(early.ended);
    EXPECT_EQ(early.ended->status, tls_status::openssl);

    support::engine_pair pair(GetParam());
    record[0] = '\x17';
    ASSERT_EQ(::send(pair.line.ends[1], record.data(), record.size(), 0), static_cast<::ssize_t>(record.size()));
    std::string nothing;
    const tls_result refused = support::engine_pair::read_all(pair.server, pair.line.ends[0], nothing);
    EXPECT_EQ(refused.status, tls_status::openssl);
    EXPECT_EQ(nothing, "");
    EXPECT_EQ(pair.pool.stats().in_use, 0U);
  }
}

TEST_P(TlsHostilePeer, TakesRecordsOfOneByte) {
  support::engine_pair pair(GetParam());
  std::string sent;
  std::string received;
  for (int record = 0; record < 5'000; ++record) {
    char byte = static_cast<char>('a' + record % 26);
    const ::iovec part{&byte, 1};
    std::size_t taken = 0;
    ASSERT_EQ(pair.client.write(pair.line.ends[1], {&part, 1}, taken).status, tls_status::done);
    sent += byte;
    if (record % 100 != 99) continue;
    EXPECT_EQ(support::engine_pair::read_all(pair.server, pair.line.ends[0], received).status, tls_status::want_read);
  }
  EXPECT_TRUE(received == sent);
  EXPECT_EQ(pair.pool.stats().in_use, 0U);
}

// A record of which the rest never comes: nothing but OpenSSL's own memory waits for it, and goes with the connection.
TEST_P(TlsHostilePeer, HalfARecordAndSilenceHoldNoBlock) {
  support::engine_pair pair(GetParam());
  std::string data(10'000, 'h');
  const ::iovec part{data.data(), data.size()};
  std::size_t taken = 0;
  std::string received;
  support::engine_pair::read_all(pair.client, pair.line.ends[1], received);  // the tickets
  ASSERT_EQ(pair.server.write(pair.line.ends[0], {&part, 1}, taken).status, tls_status::done);
  std::string record(20'000, '\0');
  const ::ssize_t length = ::recv(pair.line.ends[1], record.data(), record.size(), 0);
  ASSERT_GT(length, 10'000);
  std::size_t there = 0;
  for (const std::size_t cut : {std::size_t{1}, std::size_t{5}, std::size_t{6}, static_cast<std::size_t>(length) - 1}) {
    ASSERT_EQ(::send(pair.line.ends[0], record.data() + there, cut - there, 0), static_cast<::ssize_t>(cut - there));
    there = cut;
    EXPECT_EQ(support::engine_pair::read_all(pair.client, pair.line.ends[1], received).status, tls_status::want_read);
    EXPECT_EQ(pair.pool.stats().in_use, 0U);
  }
  EXPECT_EQ(received, "");
}

// Whether it asks for the server's new keys each time, and reads them, or not.
TEST(TlsHostileClient, IsGivenUpWhenItOnlyUpdatesItsKeys) {
  for (const int kind : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED}) {
    support::engine_pair pair;
    std::string nothing;
    tls_result result{tls_status::want_read};
    std::size_t updates = 0;
    while (result.status == tls_status::want_read && updates < 100'000) {
      for (int burst = 0; burst < 100; ++burst, ++updates) {
        ASSERT_EQ(SSL_key_update(pair.client.ssl(), kind), 1);
        ASSERT_EQ(pair.client.handshake(pair.line.ends[1], false).status, tls_status::done);
      }
      result = support::engine_pair::read_all(pair.server, pair.line.ends[0], nothing);
      EXPECT_EQ(support::engine_pair::read_all(pair.client, pair.line.ends[1], nothing).status, tls_status::want_read);
    }
    EXPECT_EQ(result.status, tls_status::unexpected);
    EXPECT_LT(updates, tls_barren_bytes_max / 20);
    EXPECT_EQ(pair.pool.stats().in_use, 0U);
  }
}

// It asks for new keys again and again and takes none: the answers that find no room are not made.
TEST(TlsHostileClient, WhoAsksForKeysAndReadsNoneIsWaitedForWithLittle) {
  support::engine_pair pair;
  std::string nothing;
  tls_result result{tls_status::want_read};
  for (std::size_t updates = 0; result.status == tls_status::want_read && updates < 100'000; ++updates) {
    ASSERT_EQ(SSL_key_update(pair.client.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(pair.client.handshake(pair.line.ends[1], false).status, tls_status::done);
    result = support::engine_pair::read_all(pair.server, pair.line.ends[0], nothing);
    EXPECT_LE(pair.server.held_bytes(), 4096U);
  }
  EXPECT_EQ(result.status, tls_status::want_write);
  EXPECT_GT(pair.server.held_bytes(), 0U) << "an answer waits for room";
  // It goes on when the client reads.
  EXPECT_EQ(support::engine_pair::read_all(pair.client, pair.line.ends[1], nothing).status, tls_status::want_read);
  EXPECT_EQ(support::engine_pair::read_all(pair.server, pair.line.ends[0], nothing).status, tls_status::want_read);
}

// A second handshake on a connection that is up: it is refused, and the connection goes on.
TEST(TlsHostileClient, GetsNoRenegotiation) {
  support::engine_pair pair(TLS1_2_VERSION);
  EXPECT_EQ(SSL_renegotiate(pair.server.ssl()), 0);
  SSL_clear_options(pair.client.ssl(), SSL_OP_NO_RENEGOTIATION);
  ASSERT_EQ(SSL_renegotiate(pair.client.ssl()), 1);
  ASSERT_EQ(pair.client.handshake(pair.line.ends[1], false).status, tls_status::want_read);
  std::string nothing;
  EXPECT_EQ(support::engine_pair::read_all(pair.server, pair.line.ends[0], nothing).status, tls_status::want_read);
  EXPECT_EQ(SSL_in_init(pair.server.ssl()), 0);
  const tls_result refused = pair.client.handshake(pair.line.ends[1], false);
  ASSERT_EQ(refused.status, tls_status::openssl);
  EXPECT_EQ(ERR_GET_REASON(refused.code), SSL_R_NO_RENEGOTIATION);
  EXPECT_EQ(pair.pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf::net::detail
