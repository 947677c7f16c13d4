// SPDX-License-Identifier: MIT
// The engine against peers that mean no good: two engines with a relay between them that cuts, delays and adds.
// Whatever happens, it ends in an error, and nothing is left in the pool.
#include <slabbuf/net/detail/tls_engine.hpp>

#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/seeded_random.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf::net::detail {
namespace {

struct context_deleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using context_ptr = std::unique_ptr<SSL_CTX, context_deleter>;

context_ptr make_context(const SSL_METHOD* method, const support::certificate* own, int version) {
  context_ptr made(SSL_CTX_new(method));
  support::set_up(made.get(), own, version);
  return made;
}

// Both ends of a connection; not blocking.
struct descriptor_pair {
  descriptor_pair() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0); }
  descriptor_pair(const descriptor_pair&) = delete;
  descriptor_pair& operator=(const descriptor_pair&) = delete;
  ~descriptor_pair() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int ends[2];  // the engine's, the relay's
};

bool wants(const tls_result& result) {
  return result.status == tls_status::want_read || result.status == tls_status::want_write;
}

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

class TlsEngine : public ::testing::TestWithParam<int> {
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
  context_ptr server_context = make_context(TLS_server_method(), &support::server_certificate(), GetParam());
  context_ptr client_context = make_context(TLS_client_method(), nullptr, GetParam());
};

INSTANTIATE_TEST_SUITE_P(Versions, TlsEngine, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

TEST_P(TlsEngine, CompletesAnExchange) {
  const outcome all = exchange(no_limit, no_limit);
  EXPECT_TRUE(is_good(all.server)) << static_cast<int>(all.server.status);
  EXPECT_TRUE(is_good(all.client)) << static_cast<int>(all.client.status);
}

TEST_P(TlsEngine, TakesSegmentsOfOneByte) {
  const outcome all = exchange(no_limit, no_limit, 1);
  EXPECT_TRUE(is_good(all.server)) << static_cast<int>(all.server.status);
  EXPECT_TRUE(is_good(all.client)) << static_cast<int>(all.client.status);
}

TEST_P(TlsEngine, SaysTruncatedWhereverItsInputEnds) {
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

TEST_P(TlsEngine, RefusesGarbage) {
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
TEST_P(TlsEngine, RefusesRecordsThatWereChanged) {
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

// Two that have shaken hands, without a relay.
class TlsEngines : public ::testing::Test {
 protected:
  void SetUp() override {
    while (static_cast<int>(wants(server.handshake(line.ends[0], true))) +
               static_cast<int>(wants(client.handshake(line.ends[1], false))) !=
           0)
      continue;
  }
  static tls_result read_all(tls_engine& engine, int descriptor, std::string& into) {
    std::vector<char> bytes(65536);
    const ::iovec part{bytes.data(), bytes.size()};
    for (;;) {
      std::size_t count = 0;
      const tls_result result = engine.read(descriptor, {&part, 1}, count);
      if (result.status != tls_status::done) return result;
      into.append(bytes.data(), count);
    }
  }

  context_ptr server_context = make_context(TLS_server_method(), &support::server_certificate(), TLS1_3_VERSION);
  context_ptr client_context = make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
  concurrent_pool pool;
  descriptor_pair line;
  tls_engine server{server_context.get(), pool.core()};
  tls_engine client{client_context.get(), pool.core()};
};

TEST_F(TlsEngines, KeepsNoMoreThanItSaysWhileThePeerDoesNotRead) {
  std::string data(std::size_t{4} << 20, 'd');
  std::string received;
  std::size_t sent = 0;
  while (sent < data.size()) {
    const ::iovec rest{data.data() + sent, data.size() - sent};
    std::size_t taken = 0;
    tls_result result = server.write(line.ends[0], {&rest, 1}, taken);
    while (result.status == tls_status::want_write) {
      EXPECT_LE(server.held_bytes(), tls_gather_bytes_max);
      EXPECT_LE(taken, tls_step_bytes_max);
      EXPECT_EQ(read_all(client, line.ends[1], received).status, tls_status::want_read);
      result = server.write(line.ends[0], {&rest, 1}, taken);
    }
    ASSERT_EQ(result.status, tls_status::done);
    EXPECT_EQ(server.held_bytes(), 0U);
    sent += taken;
  }
  read_all(client, line.ends[1], received);
  EXPECT_TRUE(received == data);
  EXPECT_GT(pool.stats().acquired, 0U) << "records were gathered";
}

TEST_F(TlsEngines, DeliversWhatIsGoodAndThenWhatIsWrong) {
  std::string nothing;
  read_all(client, line.ends[1], nothing);  // the tickets
  for (int record = 0; record < 2; ++record) {
    char byte = 'g';
    const ::iovec part{&byte, 1};
    std::size_t taken = 0;
    ASSERT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
  }
  std::array<char, 100> records;
  const ::ssize_t length = ::recv(line.ends[1], records.data(), records.size(), 0);
  ASSERT_EQ(length, 2 * 23);
  records[static_cast<std::size_t>(length) - 1] ^= 1;
  ASSERT_EQ(::send(line.ends[0], records.data(), static_cast<std::size_t>(length), 0), length);

  std::array<char, 100> bytes;
  const ::iovec part{bytes.data(), bytes.size()};
  std::size_t count = 0;
  ASSERT_EQ(client.read(line.ends[1], {&part, 1}, count).status, tls_status::done);
  EXPECT_EQ(count, 1U);
  EXPECT_TRUE(client.may_read_now());
  const tls_result wrong = client.read(line.ends[1], {&part, 1}, count);
  EXPECT_EQ(count, 0U);
  ASSERT_EQ(wrong.status, tls_status::openssl);
  EXPECT_EQ(ERR_GET_REASON(wrong.code), SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
  // And so for ever.
  EXPECT_TRUE(client.may_read_now());
  for (const tls_result& again : {client.read(line.ends[1], {&part, 1}, count), client.peek(line.ends[1])}) {
    EXPECT_EQ(again.status, tls_status::openssl);
    EXPECT_EQ(again.code, wrong.code);
  }
}

TEST_F(TlsEngines, PeeksOnlyAtWholeRecords) {
  std::string nothing;
  read_all(client, line.ends[1], nothing);  // the tickets
  char byte = 'p';
  const ::iovec part{&byte, 1};
  std::size_t taken = 0;
  ASSERT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
  std::array<char, 100> record;
  const ::ssize_t length = ::recv(line.ends[1], record.data(), record.size(), 0);
  ASSERT_EQ(length, 23);
  EXPECT_EQ(client.peek(line.ends[1]).status, tls_status::want_read);
  ASSERT_EQ(::send(line.ends[0], record.data(), 10, 0), 10);
  EXPECT_EQ(client.peek(line.ends[1]).status, tls_status::want_read);
  ASSERT_EQ(::send(line.ends[0], record.data() + 10, 13, 0), 13);
  EXPECT_EQ(client.peek(line.ends[1]).status, tls_status::done);
  EXPECT_EQ(client.peek(line.ends[1]).status, tls_status::done) << "nothing is taken";
  std::string received;
  read_all(client, line.ends[1], received);
  EXPECT_EQ(received, "p");
}

TEST_F(TlsEngines, AWriteBeforeTheHandshakeFailsAndHarmsNothing) {
  tls_engine early(server_context.get(), pool.core());
  tls_engine peer(client_context.get(), pool.core());
  descriptor_pair pair;
  std::string data(tls_record_bytes_max, 'e');
  const ::iovec all{data.data(), data.size()};
  std::size_t taken = 0;
  EXPECT_EQ(early.write(pair.ends[0], {&all, 1}, taken).status, tls_status::openssl);
  EXPECT_EQ(taken, 0U);
  while (static_cast<int>(wants(early.handshake(pair.ends[0], true))) +
             static_cast<int>(wants(peer.handshake(pair.ends[1], false))) !=
         0)
    continue;
  const ::iovec some{data.data(), 10};
  EXPECT_EQ(early.write(pair.ends[0], {&some, 1}, taken).status, tls_status::done);
  EXPECT_EQ(taken, 10U);
  std::string received;
  read_all(peer, pair.ends[1], received);
  EXPECT_EQ(received, std::string(10, 'e'));
}

TEST_F(TlsEngines, ARecordOfAWriteThatEndedIsNoOtherWrites) {
  std::string data(tls_record_bytes_max, 'd');
  tls_result result;
  while (!wants(result)) {
    const ::iovec part{data.data(), data.size()};
    std::size_t taken = 0;
    result = server.write(line.ends[0], {&part, 1}, taken);
  }
  std::string received;
  read_all(client, line.ends[1], received);
  server.begin_write();
  EXPECT_EQ(server.held_bytes(), 0U);
  const ::iovec part{data.data(), 1};
  std::size_t taken = 0;
  result = server.write(line.ends[0], {&part, 1}, taken);
  EXPECT_EQ(result.status, tls_status::system);
  EXPECT_EQ(result.code, std::uint32_t{EPIPE});
  EXPECT_EQ(taken, 0U);
  EXPECT_EQ(server.shutdown(line.ends[0]).code, std::uint32_t{EPIPE});
}

TEST_F(TlsEngines, AWriteThatTheSystemRefusesIsTheLastOne) {
  ASSERT_EQ(::shutdown(line.ends[1], SHUT_RDWR), 0);
  std::string data(std::size_t{100} << 10, 'd');
  const ::iovec part{data.data(), data.size()};
  std::size_t taken = 0;
  tls_result result = server.write(line.ends[0], {&part, 1}, taken);
  EXPECT_EQ(result.status, tls_status::system);
  EXPECT_EQ(server.held_bytes(), 0U);
  const ::iovec one{data.data(), 1};
  taken = 0;
  result = server.write(line.ends[0], {&one, 1}, taken);
  EXPECT_EQ(result.status, tls_status::system);
  EXPECT_EQ(taken, 0U);
  result = server.shutdown(line.ends[0]);
  EXPECT_EQ(result.status, tls_status::system);
  EXPECT_EQ(result.code, std::uint32_t{EPIPE});
}

TEST_F(TlsEngines, PutsSmallPartsIntoOneRecord) {
  std::vector<std::string> texts;
  std::vector<::iovec> parts;
  std::string expected;
  for (int index = 0; index < 60; ++index)
    texts.emplace_back(static_cast<std::size_t>(index) * 7, static_cast<char>('a' + index % 26));
  for (std::string& each : texts) {
    parts.push_back({each.data(), each.size()});
    expected += each;
  }
  std::string received;
  read_all(client, line.ends[1], received);  // the tickets
  std::size_t taken = 0;
  ASSERT_EQ(server.write(line.ends[0], parts, taken).status, tls_status::done);
  EXPECT_EQ(taken, expected.size());
  std::string record(65536, '\0');
  const ::ssize_t length = ::recv(line.ends[1], record.data(), record.size(), MSG_PEEK);
  EXPECT_EQ(static_cast<std::size_t>(length), expected.size() + 22) << "header, inner type and tag of one record";
  read_all(client, line.ends[1], received);
  EXPECT_EQ(received, expected);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_F(TlsEngines, WritesWithoutABlockWhereTheBudgetHasNone) {
  concurrent_pool tight({.budget_bytes_max = 4096});
  const buffer in_the_way = tight.acquire(4096);
  tls_engine poor(server_context.get(), tight.core());
  tls_engine peer(client_context.get(), pool.core());
  descriptor_pair pair;
  while (static_cast<int>(wants(poor.handshake(pair.ends[0], true))) +
             static_cast<int>(wants(peer.handshake(pair.ends[1], false))) !=
         0)
    continue;
  std::string first(100, '1');
  std::string second(100'000, '2');
  const ::iovec parts[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  std::string received;
  std::size_t taken = 0;
  tls_result result = poor.write(pair.ends[0], parts, taken);
  while (wants(result)) {
    read_all(peer, pair.ends[1], received);
    result = poor.write(pair.ends[0], parts, taken);
  }
  EXPECT_EQ(result.status, tls_status::done);
  read_all(peer, pair.ends[1], received);
  EXPECT_EQ(received.size(), taken);
  EXPECT_TRUE(received == (first + second).substr(0, taken));
  EXPECT_GT(tight.stats().refused, 0U);
  EXPECT_EQ(tight.stats().in_use, 1U);
}

TEST_F(TlsEngines, AnAbandonedWriteLeavesNothingAndEndsWriting) {
  std::string data(std::size_t{1} << 20, 'd');
  tls_result result;
  while (!wants(result)) {
    const ::iovec part{data.data(), data.size()};
    std::size_t taken = 0;
    result = server.write(line.ends[0], {&part, 1}, taken);
  }
  server.abandon_write();
  EXPECT_EQ(pool.stats().in_use, 0U);
  const ::iovec part{data.data(), 1};
  std::size_t taken = 0;
  result = server.write(line.ends[0], {&part, 1}, taken);
  EXPECT_EQ(result.status, tls_status::system);
  EXPECT_EQ(result.code, std::uint32_t{EPIPE});
  EXPECT_EQ(server.shutdown(line.ends[0]).code, std::uint32_t{EPIPE});
  // Reading goes on.
  ASSERT_EQ(client.write(line.ends[1], {&part, 1}, taken).status, tls_status::done);
  std::string received;
  read_all(server, line.ends[0], received);
  EXPECT_EQ(received, "d");
}

TEST_F(TlsEngines, NothingIsAbandonedWhenAllWasSent) {
  char byte = 'x';
  const ::iovec part{&byte, 1};
  std::size_t taken = 0;
  ASSERT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
  server.abandon_write();
  taken = 0;
  EXPECT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
}

TEST_F(TlsEngines, GivesUpOnAPeerThatOnlyUpdatesItsKeys) {
  std::string nothing;
  tls_result result{tls_status::want_read};
  std::size_t updates = 0;
  while (result.status == tls_status::want_read && updates < 100'000) {
    for (int burst = 0; burst < 100; ++burst, ++updates) {
      ASSERT_EQ(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
      ASSERT_EQ(client.handshake(line.ends[1], false).status, tls_status::done);
    }
    result = read_all(server, line.ends[0], nothing);
  }
  EXPECT_EQ(result.status, tls_status::unexpected);
  EXPECT_LT(updates, tls_barren_bytes_max / 20);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_F(TlsEngines, AnswersKeyUpdatesInTheMiddleOfAWrite) {
  std::string data(std::size_t{2} << 20, 'd');
  std::string received;
  std::string from_client;
  for (std::size_t sent = 0; sent < data.size();) {
    const ::iovec rest{data.data() + sent, data.size() - sent};
    std::size_t taken = 0;
    tls_result result = server.write(line.ends[0], {&rest, 1}, taken);
    while (result.status == tls_status::want_write) {
      // The client wants new keys while the server's record waits for room.
      char byte = 'k';
      const ::iovec small{&byte, 1};
      std::size_t count = 0;
      ASSERT_EQ(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
      ASSERT_EQ(client.write(line.ends[1], {&small, 1}, count).status, tls_status::done);
      EXPECT_EQ(read_all(server, line.ends[0], from_client).status, tls_status::want_read);
      EXPECT_EQ(read_all(client, line.ends[1], received).status, tls_status::want_read);
      result = server.write(line.ends[0], {&rest, 1}, taken);
    }
    ASSERT_EQ(result.status, tls_status::done);
    sent += taken;
  }
  read_all(client, line.ends[1], received);
  EXPECT_TRUE(received == data);
  EXPECT_GT(from_client.size(), 0U);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_F(TlsEngines, ForgetsTheKeysOfTheKeyExchange) {
  EVP_PKEY* key = nullptr;
  ASSERT_EQ(SSL_ctrl(server.ssl(), SSL_CTRL_GET_TMP_KEY, 0, &key), 1);
  unsigned char bytes[64];
  std::size_t length = sizeof(bytes);
  EXPECT_NE(EVP_PKEY_get_raw_private_key(key, bytes, &length), 1);
  EVP_PKEY_free(key);
}

TEST_F(TlsEngines, MovesWhileIdle) {
  tls_engine moved(std::move(server));
  server = std::move(moved);
  char byte = 'x';
  const ::iovec part{&byte, 1};
  std::size_t taken = 0;
  ASSERT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
  std::string received;
  read_all(client, line.ends[1], received);
  EXPECT_EQ(received, "x");
}

}  // namespace
}  // namespace slabbuf::net::detail
