// SPDX-License-Identifier: MIT
// Batches over loopback, where nothing is lost: what comes and goes, under which budget, and what the system refuses.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/udp_batch_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::on_receive;
using support::on_send;
using support::text_of;
using support::udp_pair;

using UdpBatch = support::udp_batch_fixture;

TEST_F(UdpBatch, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(net::udp_batch(pool, {.datagrams_max = 0}), std::invalid_argument);
  EXPECT_THROW(net::udp_batch(pool, {.datagrams_max = 1025}), std::invalid_argument);
  EXPECT_THROW(net::udp_batch(pool, {.datagram_bytes_max = 0}), std::invalid_argument);
  EXPECT_THROW(net::udp_batch(pool, {.datagram_bytes_max = 65'536}), std::invalid_argument);
  concurrent_pool small({.budget_bytes_max = 1024});
  EXPECT_THROW(net::udp_batch(small, {.datagram_bytes_max = 2048}), std::invalid_argument);
  const net::udp_batch most(pool, {.datagrams_max = 1024, .datagram_bytes_max = 65'535});
  EXPECT_EQ(most.datagrams_max(), 1024U);
  EXPECT_EQ(most.datagram_bytes_max(), 65'535U);
  EXPECT_TRUE(most.empty());
}

TEST_F(UdpBatch, HoldsNoBlockWhileTheSocketIsSilent) {
  pair.send("before");
  receive();
  EXPECT_EQ(in_use(), 1U) << "the blocks that got nothing are back";
  result.reset();
  const std::uint64_t acquired = pool.stats().acquired;

  net::async_receive(pair.near, batch, store());
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(in_use(), 0U) << "what the batch held is given back before the wait";
  context.restart();
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(pool.stats().acquired, acquired);

  pair.send("hello");
  run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 1U);
  EXPECT_EQ(texts(), std::vector<std::string>{"hello"});
  EXPECT_EQ(in_use(), 1U);
  batch.clear();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatch, ReceivesWhatIsThereWithItsSenders) {
  udp::socket other(context, udp::endpoint(asio::ip::address_v4::loopback(), 0));
  std::vector<std::string> sent;
  for (int index = 0; index < 40; ++index) {
    sent.push_back("datagram " + std::to_string(index));
    if (index % 3 == 0) {
      other.send_to(asio::buffer(sent.back()), pair.near.local_endpoint());
    } else {
      pair.send(sent.back());
    }
  }
  receive();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 40U) << "at one readiness";
  EXPECT_EQ(texts(), sent);
  for (std::size_t index = 0; index < batch.size(); ++index) {
    EXPECT_EQ(batch[index].peer, index % 3 == 0 ? other.local_endpoint() : pair.far.local_endpoint());
    EXPECT_FALSE(batch[index].truncated);
    EXPECT_FALSE(batch[index].error);
  }
  EXPECT_EQ(in_use(), 40U);
}

TEST_F(UdpBatch, LeavesInTheSocketWhatItHasNoRoomFor) {
  net::udp_batch small(pool, {.datagrams_max = 4});
  for (char each = 'a'; each < 'a' + 10; ++each) pair.send(std::string(1, each));
  std::string received;
  for (const std::size_t count : {4U, 4U, 2U}) {
    result.reset();
    net::async_receive(pair.near, small, store());
    EXPECT_FALSE(result) << "never from within the call, even where the next ones are there";
    run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->count, count);
    for (const net::udp_datagram& each : small) received += text_of(each.bytes);
  }
  EXPECT_EQ(received, "abcdefghij");
}

TEST_F(UdpBatch, WaitsWhereTheLastBatchWasFullAndNothingMoreIsThere) {
  net::udp_batch one(pool, {.datagrams_max = 1});
  pair.send("1");
  net::async_receive(pair.near, one, store());
  run();
  result.reset();
  net::async_receive(pair.near, one, store());
  context.restart();
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(in_use(), 0U);
  pair.send("2");
  run();
  EXPECT_EQ(text_of(one[0].bytes), "2");
}

TEST_F(UdpBatch, ADatagramWithoutBytesIsOneToo) {
  pair.send("");
  pair.send("x");
  pair.send("");
  receive();
  EXPECT_EQ(texts(), (std::vector<std::string>{"", "x", ""}));
  EXPECT_TRUE(batch[0].bytes) << "it owns a block, or it could not be sent on";
  send();
  EXPECT_EQ(result->count, 3U);
  EXPECT_EQ(pair.receive(), "");
  EXPECT_EQ(pair.receive(), "x");
  EXPECT_EQ(pair.receive(), "");
}

TEST_F(UdpBatch, SaysWhichDatagramsItHasCutOff) {
  net::udp_batch small(pool, {.datagram_bytes_max = 100});  // in blocks of 128
  for (const std::size_t size : {99U, 100U, 101U, 128U, 1000U}) pair.send(std::string(size, 'x'));
  net::async_receive(pair.near, small, store());
  run();
  ASSERT_EQ(result->count, 5U);
  EXPECT_EQ(small[0].bytes.size(), 99U);
  EXPECT_FALSE(small[0].truncated);
  EXPECT_EQ(small[1].bytes.size(), 100U);
  EXPECT_FALSE(small[1].truncated);
  for (std::size_t index = 2; index < 5; ++index) {
    EXPECT_EQ(small[index].bytes.size(), 100U);
    EXPECT_TRUE(small[index].truncated) << index;
  }
}

TEST_F(UdpBatch, SendsBackWhatItReceivedAndTheBlocksAreBackBeforeTheHandler) {
  for (int index = 0; index < 64; ++index) pair.send(std::to_string(index));
  receive();
  ASSERT_EQ(result->count, 64U);
  result.reset();
  net::async_send(pair.near, batch, store());
  EXPECT_FALSE(result) << "never from within the call";
  EXPECT_EQ(in_use(), 0U);
  run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 64U);
  EXPECT_EQ(batch.size(), 64U) << "who they were is still known";
  for (int index = 0; index < 64; ++index) EXPECT_EQ(pair.receive(), std::to_string(index));
}

TEST_F(UdpBatch, DoesNotSendWhatOwnsNoBlock) {
  for (const char* text : {"a", "b", "c"}) pair.send(text);
  receive();
  batch[1].bytes.release();
  send();
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(pair.receive(), "a");
  EXPECT_EQ(pair.receive(), "c");
  EXPECT_EQ(pair.far.available(), 0U);
}

TEST_F(UdpBatch, SendsWhatIsPushedIntoIt) {
  concurrent_pool other;
  batch.push_back(filled("one"), pair.far.local_endpoint());
  batch.push_back(filled(other, "two"), pair.far.local_endpoint());
  send();
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(pair.receive(), "one");
  EXPECT_EQ(pair.receive(), "two");

  pair.near.connect(pair.far.local_endpoint());
  batch.clear();
  batch.push_back(filled("to the peer"));
  send();
  EXPECT_EQ(pair.receive(), "to the peer");

  net::udp_batch one(pool, {.datagrams_max = 1});
  one.push_back(filled("x"));
  EXPECT_THROW(one.push_back(filled("y")), std::length_error);
}

TEST_F(UdpBatch, OfNothingIsSentAtOnce) {
  send();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 0U);
}

TEST_F(UdpBatch, WorksWithIPv6) {
  std::optional<udp_pair> six;
  try {
    six.emplace(context, asio::ip::address_v6::loopback());
  } catch (const std::system_error& fault) {
    GTEST_SKIP() << "no IPv6 here: " << fault.what();
  }
  six->send("six");
  net::async_receive(six->near, batch, store());
  run();
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(batch[0].peer, six->far.local_endpoint());
  net::async_send(six->near, batch, store());
  run();
  EXPECT_EQ(six->receive(), "six");

  // The same batch goes on with IPv4.
  pair.send("four");
  receive();
  EXPECT_EQ(batch[0].peer, pair.far.local_endpoint());
  send();
  EXPECT_EQ(pair.receive(), "four");
}

TEST_F(UdpBatch, WorksWithALocalPool) {
  local_pool local;
  {
    net::udp_batch mine(local);
    for (int index = 0; index < 20; ++index) pair.send("local");
    net::async_receive(pair.near, mine, net::bind_pool(local, store()));
    run();
    EXPECT_EQ(result->count, 20U);
    EXPECT_EQ(local.stats().in_use, 20U);
    net::async_send(pair.near, mine, net::bind_pool(local, store()));
    run();
    EXPECT_EQ(result->count, 20U);
  }
  EXPECT_EQ(local.stats().in_use, 0U);
}

TEST_F(UdpBatch, ReceivesAsManyAsTheBudgetHasBlocksFor) {
  concurrent_pool tight({.budget_bytes_max = 3 * 2048, .cache_bytes_max = 0});
  net::udp_batch mine(tight);
  for (int index = 0; index < 5; ++index) pair.send(std::to_string(index));
  net::async_receive(pair.near, mine, store());
  run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 3U);

  buffer in_the_way = std::move(mine[0].bytes);
  buffer another = std::move(mine[1].bytes);
  buffer last = std::move(mine[2].bytes);
  net::async_receive(pair.near, mine, store());
  run();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space);
  EXPECT_EQ(result->count, 0U);

  last.release();
  net::async_receive(pair.near, mine, store());
  run();
  EXPECT_FALSE(result->ec);
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(text_of(mine[0].bytes), "3") << "it has stayed in the socket";
}

TEST_F(UdpBatch, StandsBehindThoseWhoWaitForTheBudgetUnlessItIsGrantedABlock) {
  concurrent_pool tight({.budget_bytes_max = 4 * 2048, .cache_bytes_max = 0});
  net::udp_batch mine(tight);
  buffer in_the_way = tight.acquire(2 * 2048);
  std::optional<asio::error_code> waited;
  net::async_acquire(tight, 4 * 2048, asio::bind_executor(context, [&](asio::error_code ec, buffer) { waited = ec; }));
  pair.send("first");
  pair.send("second");
  net::async_receive(pair.near, mine, store());
  while (!result) context.run_one();
  EXPECT_EQ(result->ec, asio::error::no_buffer_space) << "there is room for it, but others were first";
  EXPECT_FALSE(waited);

  result.reset();
  mine.grant(tight.acquire(2048));
  net::async_receive(pair.near, mine, store());
  while (!result) context.run_one();
  EXPECT_FALSE(result->ec);
  ASSERT_EQ(result->count, 1U);
  EXPECT_EQ(text_of(mine[0].bytes), "first");
  mine.clear();
  in_the_way.release();
  run();
  EXPECT_EQ(waited, asio::error_code());
}

TEST_F(UdpBatch, GivesAGrantedBlockBackWhenNothingIsThere) {
  batch.grant(pool.acquire(2048));
  EXPECT_EQ(in_use(), 1U);
  net::async_receive(pair.near, batch, store());
  EXPECT_EQ(in_use(), 0U) << "the socket is silent";
  pair.send("x");
  run();
  EXPECT_EQ(result->count, 1U);

  batch.grant(pool.acquire(2048));
  batch.clear();
  EXPECT_EQ(in_use(), 0U);
  EXPECT_THROW(batch.grant(pool.acquire(1000)), std::invalid_argument);
}

TEST_F(UdpBatch, SendsTheOthersWhereTheSystemRefusesOne) {
  batch.push_back(filled("first"), pair.far.local_endpoint());
  batch.push_back(filled(std::string(100'000, 'x')), pair.far.local_endpoint());
  batch.push_back(filled("nowhere"));  // the socket is not connected
  batch.push_back(filled("last"), pair.far.local_endpoint());
  send();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(batch[1].error, asio::error::message_size);
  EXPECT_TRUE(batch[2].error);
  EXPECT_FALSE(batch[0].error || batch[3].error);
  EXPECT_EQ(pair.receive(), "first");
  EXPECT_EQ(pair.receive(), "last");

  // Set right, they go, and only they.
  EXPECT_FALSE(batch[0].bytes);
  batch[1].bytes.resize(10);
  batch[2].peer = pair.far.local_endpoint();
  send();
  EXPECT_EQ(result->count, 2U);
  EXPECT_FALSE(batch[1].error || batch[2].error);
  EXPECT_EQ(pair.receive(), "xxxxxxxxxx");
  EXPECT_EQ(pair.receive(), "nowhere");
  EXPECT_EQ(pair.far.available(), 0U);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatch, ReportsARefusedConnectionForOneDatagramAndSendsTheOthers) {
  const udp::endpoint peer = pair.far.local_endpoint();
  pair.near.connect(peer);
  pair.far.close();
  batch.push_back(filled("nobody hears this"));
  send();
  EXPECT_EQ(result->count, 1U) << "that nobody does is not known yet";

  pair.far = udp_pair::socket(context, peer);
  batch.clear();
  for (const char* text : {"a", "b", "c"}) batch.push_back(filled(text));
  send();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 2U);
  EXPECT_EQ(batch[0].error, asio::error::connection_refused);
  EXPECT_EQ(pair.receive(), "b");
  EXPECT_EQ(pair.receive(), "c");
  send();
  EXPECT_EQ(pair.receive(), "a") << "what was not sent is still there";
}

TEST_F(UdpBatch, ReportsARefusedConnectionToAReceiveWhichMayGoOn) {
  const udp::endpoint peer = pair.far.local_endpoint();
  pair.near.connect(peer);
  pair.far.close();
  batch.push_back(filled("nobody hears this"));
  send();
  receive();
  EXPECT_EQ(result->ec, asio::error::connection_refused);
  EXPECT_EQ(result->count, 0U);
  EXPECT_EQ(in_use(), 0U);
  pair.far = udp_pair::socket(context, peer);
  pair.send("now");
  receive();
  EXPECT_EQ(texts(), std::vector<std::string>{"now"});
}

TEST_F(UdpBatch, DeliversWhatItHasBeforeAnErrorThatCameMeanwhile) {
  // More than the first call has blocks for; the second one fails.
  for (int index = 0; index < 30; ++index) pair.send(std::to_string(index));
  int calls = 0;
  on_receive = [&] { return ++calls == 2 ? ECONNREFUSED : 0; };
  receive();
  EXPECT_FALSE(result->ec);
  const std::size_t count = result->count;
  EXPECT_GT(count, 0U);
  EXPECT_LT(count, 30U);
  receive();
  EXPECT_EQ(result->ec, asio::error::connection_refused);
  EXPECT_EQ(result->count, 0U);
  receive();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 30U - count);
  EXPECT_EQ(text_of(batch[0].bytes), std::to_string(count));
  batch.clear();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatch, TriesAgainWhenASignalInterrupts) {
  pair.send("x");
  int interruptions = 2;
  on_receive = [&] { return interruptions-- > 0 ? EINTR : 0; };
  receive();
  EXPECT_EQ(result->count, 1U);
  interruptions = 2;
  on_send = [&] { return interruptions-- > 0 ? EINTR : 0; };
  send();
  EXPECT_EQ(result->count, 1U);
  EXPECT_EQ(pair.receive(), "x");
}

TEST_F(UdpBatch, WaitsAgainWhenAnotherReaderWasFaster) {
  net::async_receive(pair.near, batch, store());
  context.poll();
  bool first = true;
  on_receive = [&] { return std::exchange(first, false) ? EAGAIN : 0; };
  pair.send("x");
  run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_FALSE(first);
  EXPECT_EQ(result->count, 1U);
}

}  // namespace
}  // namespace slabbuf
