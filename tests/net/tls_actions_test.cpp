// SPDX-License-Identifier: MIT
// What each action of a TLS stream does in a step, over engines that have shaken hands and without Asio's waits.
#include <slabbuf/net/detail/tls_actions.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ssl/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "support/chain_of_blocks.hpp"
#include "support/loopback_pair.hpp"
#include "support/tls_engines.hpp"

namespace slabbuf::net::detail {
namespace {

using const_buffers = std::vector<asio::const_buffer>;
using mutable_buffers = std::vector<asio::mutable_buffer>;
using read_action = tls_read_action<mutable_buffers>;
using read_block_action = tls_read_block_action<concurrent_pool>;
using write_action = tls_write_action<const_buffers>;
using write_all_action = tls_write_all_action<buffer_source>;
using cancellation = asio::cancellation_type;

class TlsActions : public ::testing::Test, protected support::engine_pair {
 protected:
  TlsActions() {
    std::string none;
    read_all(client, line.ends[1], none);  // the tickets
  }

  void client_sends(std::string_view text) {
    std::string sent(text);
    const ::iovec part{sent.data(), sent.size()};
    std::size_t taken = 0;
    ASSERT_EQ(client.write(line.ends[1], {&part, 1}, taken).status, tls_status::done);
    ASSERT_EQ(taken, text.size());
  }
  // So that the server has a byte that it need not wait for.
  void server_has_received() {
    client_sends("received");
    ASSERT_EQ(server.peek(line.ends[0]).status, tls_status::done);
  }
  std::string client_receives() {
    std::string received;
    read_all(client, line.ends[1], received);
    return received;
  }

  // A write of the server's that has to wait, while OpenSSL has a part of its record.
  void server_begins_a_record() {
    while (server_writes().status == tls_status::done) continue;
  }
  // Whether that write can still go on, as it cannot once it was abandoned.
  bool server_record_lives() {
    client_receives();
    return server_writes().status == tls_status::done;
  }

  template <class Action>
  tls_want server_step(Action& action) {
    return action.step(server, line.ends[0], ec);
  }
  template <class Action>
  static std::size_t bytes_of(Action& action, asio::error_code how = {}) {
    std::size_t counted = 0;
    action.complete(how, [&](const asio::error_code& got, std::size_t bytes) {
      EXPECT_EQ(got, how);
      counted = bytes;
    });
    return counted;
  }
  template <class Pool>
  std::string text_of(tls_read_block_action<Pool>& action) {
    std::string text;
    action.complete(ec, [&](const asio::error_code& got, buffer bytes) {
      EXPECT_EQ(got, ec);
      text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    return text;
  }

  asio::error_code ec;

 private:
  tls_result server_writes() {
    const ::iovec part{record_.data(), record_.size()};
    std::size_t taken = 0;
    return server.write(line.ends[0], {&part, 1}, taken);
  }

  std::string record_ = std::string(tls_record_bytes_max, 'r');
};

TEST_F(TlsActions, ReadsWaitFirstUnlessSomethingWasReceived) {
  std::string space(8, '?');
  EXPECT_EQ(read_action({asio::buffer(space)}).begin(server), tls_want::read);
  EXPECT_EQ(read_action(mutable_buffers(3)).begin(server), tls_want::nothing) << "no room";
  EXPECT_EQ(read_block_action::begin(server), tls_want::read);
  server_has_received();
  EXPECT_EQ(read_action({asio::buffer(space)}).begin(server), tls_want::nothing);
  EXPECT_EQ(read_block_action::begin(server), tls_want::nothing);
}

TEST_F(TlsActions, OnlyAServerThatHasNotBegunWaitsForItsClientFirst) {
  const tls_engine new_server(server_context.get(), pool.core());
  EXPECT_EQ(tls_handshake_action(true).begin(new_server), tls_want::read);
  EXPECT_EQ(tls_handshake_action(false).begin(new_server), tls_want::nothing);
  EXPECT_EQ(tls_handshake_action(true).begin(server), tls_want::nothing) << "it may have a certificate to ask for";
}

template <class Action>
class TlsActionsThatSend : public TlsActions {};
using actions_that_send = ::testing::Types<tls_shutdown_action, write_action, write_all_action>;
TYPED_TEST_SUITE(TlsActionsThatSend, actions_that_send);

TYPED_TEST(TlsActionsThatSend, BeginAtOnceAndTakeNoRecordOfAnotherForTheirOwn) {
  EXPECT_EQ(TypeParam::begin(this->server), tls_want::nothing);
  this->server_begins_a_record();
  EXPECT_EQ(TypeParam::begin(this->server), tls_want::nothing);
  EXPECT_FALSE(this->server_record_lives());
}

TEST_F(TlsActions, WhatOnlyReceivesLeavesAWriteAlone) {
  std::string space(8, '?');
  const read_action read({asio::buffer(space)});
  server_begins_a_record();
  static_cast<void>(read.begin(server));
  static_cast<void>(read_block_action::begin(server));
  static_cast<void>(tls_handshake_action(true).begin(server));
  read_action::give_up(server);
  read_block_action::give_up(server);
  EXPECT_TRUE(server_record_lives());
}

TEST_F(TlsActions, GivingUpAWriteAbandonsIt) {
  server_begins_a_record();
  write_action::give_up(server);
  EXPECT_FALSE(server_record_lives());
}

TEST_F(TlsActions, GivingUpAllOfAWriteKeepsNoBlock) {
  std::string text;
  tls_write_all_action action(chain_source(support::chain_of_blocks(pool, 60, 30'000, text)));
  EXPECT_EQ(server_step(action), tls_want::write);
  EXPECT_GT(pool.stats().in_use, 0U);
  action.give_up(server);
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_LT(bytes_of(action, asio::error::operation_aborted), text.size());
  EXPECT_FALSE(server_record_lives());
}

// What has taken nothing may be cancelled as if it had not begun; what may have sent a part, only for good.
TEST(TlsCancellation, IsWhatAnActionCanDo) {
  for (const auto type : {cancellation::terminal, cancellation::partial, cancellation::total}) {
    EXPECT_EQ(read_action::cancellation_filter()(type), type);
    EXPECT_EQ(read_block_action::cancellation_filter()(type), type);
    const auto partial = type == cancellation::total ? cancellation::none : type;
    EXPECT_EQ(tls_handshake_action::cancellation_filter()(type), partial);
    EXPECT_EQ(tls_shutdown_action::cancellation_filter()(type), partial);
    EXPECT_EQ(write_action::cancellation_filter()(type), partial);
    EXPECT_EQ(write_all_action::cancellation_filter()(type), partial);
  }
  static_assert(read_action::side == tls_side::receiving && read_block_action::side == tls_side::receiving);
  static_assert(tls_handshake_action::side == tls_side::sending && write_action::side == tls_side::sending);
  static_assert(tls_shutdown_action::side == tls_side::sending && write_all_action::side == tls_side::sending);
}

TEST_F(TlsActions, HandshakesTakeStepsUntilBothAreDone) {
  tls_engine new_server(server_context.get(), pool.core());
  tls_engine new_client(client_context.get(), pool.core());
  const support::descriptor_pair pair;
  tls_handshake_action accept(true);
  tls_handshake_action connect(false);
  asio::error_code client_ec;
  EXPECT_EQ(connect.step(new_client, pair.ends[1], client_ec), tls_want::read);
  EXPECT_EQ(accept.step(new_server, pair.ends[0], ec), tls_want::read);
  EXPECT_EQ(connect.step(new_client, pair.ends[1], client_ec), tls_want::nothing);
  EXPECT_EQ(accept.step(new_server, pair.ends[0], ec), tls_want::nothing);
  EXPECT_FALSE(client_ec);
  EXPECT_FALSE(ec);
  int completed = 0;
  accept.complete(ec, [&](const asio::error_code& got) { completed += got ? 0 : 1; });
  EXPECT_EQ(completed, 1);
}

TEST_F(TlsActions, ReadsFillTheBuffersInOrder) {
  std::string first(3, '?');
  std::string second(10, '?');
  read_action action({asio::buffer(first), asio::mutable_buffer(), asio::buffer(second)});
  EXPECT_EQ(server_step(action), tls_want::read);
  client_sends("received");
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_FALSE(ec);
  EXPECT_EQ(bytes_of(action), 8U);
  EXPECT_EQ(first + second, "received?????");
}

TEST_F(TlsActions, NothingIsReadIntoNoRoomAndWrittenOfNoBytes) {
  client_sends("received");
  read_action read(mutable_buffers(3));
  EXPECT_EQ(server_step(read), tls_want::nothing);
  EXPECT_EQ(bytes_of(read), 0U);
  write_action write(const_buffers(3));
  EXPECT_EQ(server_step(write), tls_want::nothing);
  EXPECT_EQ(bytes_of(write), 0U);
  write_all_action write_all{buffer_source(buffer())};
  EXPECT_EQ(server_step(write_all), tls_want::nothing);
  EXPECT_EQ(bytes_of(write_all), 0U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(client_receives(), "");
}

TEST_F(TlsActions, ReadsIntoABlockThatIsHeldOnlyWithBytes) {
  read_block_action action(pool, read_limit(6));
  EXPECT_EQ(server_step(action), tls_want::read);
  EXPECT_EQ(pool.stats().in_use, 0U);
  client_sends("received");
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(pool.stats().in_use, 1U);
  EXPECT_EQ(text_of(action), "receiv");
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(text_of(action), "ed");
}

TEST_F(TlsActions, LearnsHowMuchIsRead) {
  read_size size(64, 64, 65536);
  read_block_action action(pool, read_limit(size));
  EXPECT_EQ(server_step(action), tls_want::read);
  EXPECT_EQ(size.next(), 64U) << "what brought nothing says nothing";
  client_sends(std::string(64, 'x'));
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_GT(size.next(), 64U);
}

TEST_F(TlsActions, ClearsABlockInAPoolThatClearsNothing) {
  concurrent_pool careless({.zero = zeroing::none});
  read_block_action action(careless, read_limit(4096));
  client_sends("received");
  EXPECT_EQ(server_step(action), tls_want::nothing);
  const std::byte* before = nullptr;
  action.complete(ec, [&](const asio::error_code&, const buffer& bytes) { before = bytes.data(); });
  action = read_block_action(careless, read_limit(4096));
  const buffer again = careless.acquire(4096);
  ASSERT_EQ(again.data(), before);
  EXPECT_EQ(again.data()[0], std::byte{0});
}

TEST_F(TlsActions, ClearsBothBlocksOfFewBytes) {
  concurrent_pool careless({.zero = zeroing::none});
  const std::byte* first = careless.acquire(slabbuf::net::read_bytes_default).data();
  read_block_action action(careless, read_limit::fitting());
  client_sends("received");
  EXPECT_EQ(server_step(action), tls_want::nothing);
  const buffer large = careless.acquire(slabbuf::net::read_bytes_default);
  ASSERT_EQ(large.data(), first) << "it went back when the bytes had moved";
  EXPECT_EQ(large.data()[0], std::byte{0});
  action.complete(ec, [&](const asio::error_code&, const buffer& bytes) {
    EXPECT_EQ(bytes.capacity(), 8U);
    first = bytes.data();
  });
  action = read_block_action(careless, read_limit(8));
  const buffer small = careless.acquire(8);
  ASSERT_EQ(small.data(), first);
  EXPECT_EQ(small.data()[0], std::byte{0});
}

TEST_F(TlsActions, WithoutABlockOnlyPlaintextIsMissingOne) {
  concurrent_pool poor({.budget_bytes_max = 4096});
  buffer in_the_way = poor.acquire(4096);
  read_block_action action(poor, read_limit(4096));
  EXPECT_EQ(server_step(action), tls_want::read);
  EXPECT_FALSE(ec);
  client_sends("received");
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(ec, asio::error::no_buffer_space);
  EXPECT_EQ(text_of(action), "");
  in_the_way.release();
  ec.clear();
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(text_of(action), "received") << "it stayed where it was";

  in_the_way = poor.acquire(4096);
  client.shutdown(line.ends[1]);
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(ec, asio::error::eof);
}

TEST_F(TlsActions, WritesAsManyBuffersAsAStepTakes) {
  const std::string text(gather_max + 5, 'w');
  const_buffers all;
  for (const char& each : text) all.emplace_back(&each, 1);
  write_action action(all);
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_FALSE(ec);
  EXPECT_EQ(bytes_of(action), gather_max);
  EXPECT_EQ(client_receives(), text.substr(0, gather_max));
  EXPECT_EQ(bytes_of(action, asio::error::operation_aborted), 0U) << "nobody knows what has arrived";
}

TEST_F(TlsActions, WritesAllOfASourceInSteps) {
  std::string text;
  tls_write_all_action action(chain_source(support::chain_of_blocks(pool, 60, 30'000, text)));
  std::string received;
  for (tls_want want = tls_want::write; want != tls_want::nothing; received += client_receives()) {
    want = server_step(action);
    ASSERT_NE(want, tls_want::read);
  }
  EXPECT_FALSE(ec);
  EXPECT_TRUE(received == text);
  EXPECT_EQ(bytes_of(action), text.size());
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_F(TlsActions, AWriteOfMuchLetsOthersHaveTheirTurn) {
  asio::io_context context;
  support::loopback_pair pair(context);  // sockets that take more at once than a line does
  const int near = pair.near.native_handle();
  tls_engine new_server(server_context.get(), pool.core());
  tls_engine new_client(client_context.get(), pool.core());
  support::shake_hands(new_server, near, new_client, pair.far.native_handle());
  std::string text;
  tls_write_all_action action(chain_source(support::chain_of_blocks(pool, 60, 30'000, text)));
  EXPECT_EQ(action.step(new_server, near, ec), tls_want::write);
  EXPECT_LT(bytes_of(action), std::size_t{640} << 10) << "512 KiB, and the step that makes it more";
}

TEST_F(TlsActions, AWriteThatFailsKeepsNoBlock) {
  ASSERT_EQ(::shutdown(line.ends[1], SHUT_RDWR), 0);
  write_all_action action{buffer_source(support::buffer_of(pool, "lost"))};
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(ec, asio::error::broken_pipe);
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(bytes_of(action, ec), 0U);
}

TEST_F(TlsActions, AShutdownIsOverWhenThePeerHasSaidSoToo) {
  tls_shutdown_action action;
  EXPECT_EQ(server_step(action), tls_want::read);
  EXPECT_EQ(client.shutdown(line.ends[1]).status, tls_status::done);
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_FALSE(ec);
}

TEST_F(TlsActions, AShutdownSaysThatThePeerHasNot) {
  tls_shutdown_action action;
  ASSERT_EQ(::shutdown(line.ends[1], SHUT_WR), 0);
  EXPECT_EQ(server_step(action), tls_want::nothing);
  EXPECT_EQ(ec, asio::ssl::error::stream_truncated);
}

}  // namespace
}  // namespace slabbuf::net::detail
