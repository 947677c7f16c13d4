// SPDX-License-Identifier: MIT
// The engine between peers that mean well: what it keeps and when, and how a connection goes on or ends.
#include <slabbuf/net/detail/tls_engine.hpp>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/tls_engines.hpp"

namespace slabbuf::net::detail {
namespace {

using support::descriptor_pair;
using support::wants;

class TlsEngines : public ::testing::Test, protected support::engine_pair {};

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
  support::shake_hands(early, pair.ends[0], peer, pair.ends[1]);
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
  support::shake_hands(poor, pair.ends[0], peer, pair.ends[1]);
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

TEST_F(TlsEngines, GoesOnOnAnotherThread) {
  std::string received;
  const auto exchange = [&] {
    char byte = 't';
    const ::iovec part{&byte, 1};
    std::size_t taken = 0;
    ASSERT_EQ(server.write(line.ends[0], {&part, 1}, taken).status, tls_status::done);
    read_all(client, line.ends[1], received);
  };
  tls_engine later_server(server_context.get(), pool.core());
  tls_engine later_client(client_context.get(), pool.core());
  descriptor_pair other;
  std::thread([&] {
    exchange();
    // In the middle of a handshake, too.
    EXPECT_EQ(later_client.handshake(other.ends[1], false).status, tls_status::want_read);
    EXPECT_EQ(later_server.handshake(other.ends[0], true).status, tls_status::want_read);
  }).join();
  exchange();
  std::thread(exchange).join();
  EXPECT_EQ(received, "ttt");
  support::shake_hands(later_server, other.ends[0], later_client, other.ends[1]);
  EXPECT_NE(SSL_is_init_finished(later_server.ssl()), 0);
}

TEST_F(TlsEngines, OpensslReadsNothingOutsideOfAStep) {
  char byte = 'o';
  const ::iovec part{&byte, 1};
  std::size_t taken = 0;
  ASSERT_EQ(client.write(line.ends[1], {&part, 1}, taken).status, tls_status::done);
  EXPECT_LE(SSL_read(server.ssl(), &byte, 1), 0);
}

TEST_F(TlsEngines, ForgetsTheHandshake) {
  EVP_PKEY* key = nullptr;
  ASSERT_EQ(SSL_ctrl(server.ssl(), SSL_CTRL_GET_TMP_KEY, 0, &key), 1);
  unsigned char bytes[64];
  std::size_t length = sizeof(bytes);
  EXPECT_NE(EVP_PKEY_get_raw_private_key(key, bytes, &length), 1);
  EVP_PKEY_free(key);
  EXPECT_EQ(sk_SSL_CIPHER_num(SSL_get_client_ciphers(server.ssl())), 0);
  EXPECT_NE(SSL_get_current_cipher(server.ssl()), nullptr);
}

// What was lent to it on another thread may be in use there: here by a step of the client, in a callback of which the
// server makes one.
TEST_F(TlsEngines, UsesNothingOfAnotherThreadWhereMemoryIsShort) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "another allocator is in front";
  struct reading {
    tls_engine* engine;
    int descriptor;
    tls_result result{};
    bool done = false;
  } of_server{&server, line.ends[0]};
  const auto on_record = [](int, int, int, const void*, std::size_t, SSL*, void* argument) {
    auto& its = *static_cast<reading*>(argument);
    if (std::exchange(its.done, true)) return;
    std::thread([&] {
      char byte = 0;
      const ::iovec part{&byte, 1};
      std::size_t count = 0;
      const support::failing_heap without_memory(1, support::heap_failure::once);  // for what it reads through
      its.result = its.engine->read(its.descriptor, {&part, 1}, count);
    }).join();
  };
  SSL_set_msg_callback(client.ssl(), on_record);
  SSL_set_msg_callback_arg(client.ssl(), &of_server);
  const ::iovec hello{const_cast<char*>("hello"), 5};
  std::size_t taken = 0;
  ASSERT_EQ(server.write(line.ends[0], {&hello, 1}, taken).status, tls_status::done);
  std::string received;
  EXPECT_EQ(read_all(client, line.ends[1], received).status, tls_status::want_read);
  EXPECT_EQ(received, "hello");
  ASSERT_TRUE(of_server.done);
  EXPECT_FALSE(wants(of_server.result)) << "it has nothing to read through";
  EXPECT_NE(of_server.result.status, tls_status::done);
}

// In a process of its own, because what is missing there is made once.
TEST(TlsEngineWithoutMemory, IsNoneAndTheNextOneIs) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "another allocator is in front";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto try_twice = [] {
    concurrent_pool pool;
    const support::context_ptr context = support::make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
    bool first = true;
    {
      const support::failing_heap without_memory(1, support::heap_failure::from_then_on);
      first = tls_engine(context.get(), pool.core()).ssl() != nullptr;
    }
    const bool second = tls_engine(context.get(), pool.core()).ssl() != nullptr;
    std::_Exit(first ? 1 : second ? 0 : 2);
  };
  EXPECT_EXIT(try_twice(), ::testing::ExitedWithCode(0), "");
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
