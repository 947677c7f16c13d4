// SPDX-License-Identifier: MIT
// Over loopback, where nothing is lost; and over pairs of Unix datagram sockets, whose queues are short, for what
// a full socket does. The two system calls can be made to fail: see `on_receive` and `on_send`.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/udp_pair.hpp"

namespace {

// What a call is to do instead of its work: an errno, or 0 for its work.
thread_local std::function<int()> on_receive;
thread_local std::function<int()> on_send;

template <class Call>
Call next(const char* name) {
  return reinterpret_cast<Call>(::dlsym(RTLD_NEXT, name));
}

bool fails(const std::function<int()>& hook) {
  const int error = hook ? hook() : 0;
  if (error != 0) errno = error;
  return error != 0;
}

}  // namespace

// In front of the C library's, for everything in this program.
extern "C" int recvmmsg(int descriptor, ::mmsghdr* headers, unsigned count, int flags, ::timespec* timeout) {
  static const auto call = next<decltype(&::recvmmsg)>("recvmmsg");
  return fails(on_receive) ? -1 : call(descriptor, headers, count, flags, timeout);
}
extern "C" int sendmmsg(int descriptor, ::mmsghdr* headers, unsigned count, int flags) {
  static const auto call = next<decltype(&::sendmmsg)>("sendmmsg");
  return fails(on_send) ? -1 : call(descriptor, headers, count, flags);
}

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::udp_pair;

std::string text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct outcome {
  asio::error_code ec;
  std::size_t count;
};

class UdpBatch : public ::testing::Test {
 protected:
  ~UdpBatch() override { on_receive = on_send = nullptr; }

  auto store() {
    return [this](asio::error_code ec, std::size_t count) { result.emplace(outcome{ec, count}); };
  }
  buffer filled(std::string_view text) { return filled(pool, text); }
  static buffer filled(concurrent_pool& from, std::string_view text) {
    buffer bytes = from.acquire(text.size());
    if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const net::udp_datagram& each : batch) all.push_back(text_of(each.bytes));
    return all;
  }
  void run() {
    context.restart();
    context.run();  // returns, or the test ends by its limit
  }
  void receive() {
    result.reset();
    net::async_receive(pair.near, batch, store());
    run();
  }
  void send() {
    result.reset();
    net::async_send(pair.near, batch, store());
    run();
  }
  std::uint64_t in_use() const { return pool.stats().in_use; }

  concurrent_pool pool;
  asio::io_context context;
  udp_pair pair{context};
  net::udp_batch batch{pool};
  std::optional<outcome> result;
};

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

// --- what of a block counts as written

// The first 64 blocks of 2048 bytes that `pool` hands out next must be zero.
void expect_clean_blocks(concurrent_pool& pool) {
  const std::string zeros(2048, '\0');
  std::vector<buffer> blocks;
  for (std::size_t index = 0; index < 64; ++index) {
    blocks.push_back(pool.acquire(2048));
    EXPECT_TRUE(text_of(blocks.back()) == zeros) << "block " << index;
  }
}

TEST_F(UdpBatch, CountsOnlyTheBytesThatArrivedAsWrittenWhereNoneWereDropped) {
  if (!net::detail::dropped_datagrams(pair.near.native_handle())) GTEST_SKIP() << "the system does not say";
  for (int index = 0; index < 32; ++index) pair.send("abc");  // enough to be worth asking
  receive();
  ASSERT_EQ(result->count, 32U);
  const std::byte* const block = std::as_const(batch[31].bytes).data();
  // A byte changed behind the buffer's back is not cleared: nobody knows of it. What arrived is.
  const_cast<std::byte*>(block)[1000] = std::byte{0x5a};
  batch[31].bytes.release();
  const buffer again = pool.acquire(2048);
  ASSERT_EQ(again.data(), block);
  EXPECT_EQ(again.data()[0], std::byte{0});
  EXPECT_EQ(again.data()[1000], std::byte{0x5a});
}

// Datagrams whose checksum does not match, which the kernel copies before it finds out: needs a raw socket.
class corrupt_sender {
 public:
  corrupt_sender() : raw_(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP)) {}
  corrupt_sender(const corrupt_sender&) = delete;
  corrupt_sender& operator=(const corrupt_sender&) = delete;
  ~corrupt_sender() {
    if (raw_ >= 0) ::close(raw_);
  }
  bool allowed() const { return raw_ >= 0; }
  void send(const udp::endpoint& to, std::size_t size) const {
    std::string packet(sizeof(::udphdr) + size, 'E');
    ::udphdr header{};
    header.source = htons(9);
    header.dest = htons(to.port());
    header.len = htons(static_cast<std::uint16_t>(packet.size()));
    header.check = htons(0x1234);
    std::memcpy(packet.data(), &header, sizeof(header));
    const udp::endpoint target(to.address(), 0);
    ASSERT_EQ(::sendto(raw_, packet.data(), packet.size(), 0, target.data(), static_cast<::socklen_t>(target.size())),
              static_cast<::ssize_t>(packet.size()));
  }

 private:
  int raw_;
};

TEST_F(UdpBatch, LetsNothingOfADatagramWithAWrongChecksumLieInABlock) {
  const corrupt_sender corrupt;
  if (!corrupt.allowed()) GTEST_SKIP() << "raw sockets are not allowed";
  // Few datagrams and many: what is asked of the system differs. A second time: it has dropped some before.
  for (const std::size_t count : {1U, 1U, 40U, 40U, 40U}) {
    corrupt.send(pair.near.local_endpoint(), 1500);
    for (std::size_t index = 0; index < count; ++index) pair.send("good");
    receive();
    ASSERT_EQ(result->count, count);
    EXPECT_EQ(text_of(batch[0].bytes), "good");
    batch.clear();
    SCOPED_TRACE(count);
    expect_clean_blocks(pool);
  }
}

TEST_F(UdpBatch, LetsNothingLieInABlockThatGotOnlyAWrongChecksum) {
  const corrupt_sender corrupt;
  if (!corrupt.allowed()) GTEST_SKIP() << "raw sockets are not allowed";
  corrupt.send(pair.near.local_endpoint(), 1500);
  net::async_receive(pair.near, batch, store());
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(in_use(), 0U);
  expect_clean_blocks(pool);
}

// --- a socket that is full

// A pair of Unix datagram sockets in place of a UDP pair: they hold a few datagrams and refuse more.
class UdpBatchFull : public UdpBatch {
 protected:
  UdpBatchFull() {
    std::array<int, 2> descriptors{};
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, descriptors.data()) != 0) std::terminate();
    pair.near.close();
    pair.near.assign(udp::v4(), descriptors[0]);
    pair.near.set_option(asio::socket_base::send_buffer_size(1));  // the least there is
    reader = descriptors[1];
    for (std::size_t index = 0; index < 64; ++index) batch.push_back(filled(std::to_string(index)));
  }
  ~UdpBatchFull() override { ::close(reader); }

  // The next datagram the reader gets; none when there is none.
  std::optional<std::string> next() const {
    std::array<char, 100> text{};
    const ::ssize_t got = ::recv(reader, text.data(), text.size(), MSG_DONTWAIT);
    if (got < 0) return std::nullopt;
    return std::string(text.data(), static_cast<std::size_t>(got));
  }
  // All there are, as their numbers.
  std::vector<int> drain() const {
    std::vector<int> all;
    while (const auto text = next()) all.push_back(std::stoi(*text));
    return all;
  }
  static std::vector<int> numbers(int first, int end) {
    std::vector<int> all;
    for (int number = first; number < end; ++number) all.push_back(number);
    return all;
  }
  void start_send(bool expect_wait = true) {
    result.reset();
    net::async_send(pair.near, batch, asio::bind_cancellation_slot(signal.slot(), store()));
    context.restart();
    context.poll();
    ASSERT_EQ(result.has_value(), !expect_wait);
  }

  asio::cancellation_signal signal;
  int reader = -1;
};

TEST_F(UdpBatchFull, WaitsForRoomAndSendsEachOnceInOrder) {
  start_send();
  const std::uint64_t waiting = in_use();
  EXPECT_GT(waiting, 0U);
  EXPECT_LT(waiting, 64U) << "what the socket has taken is back already";
  std::vector<int> received;
  while (!result) {
    const std::vector<int> some = drain();
    received.insert(received.end(), some.begin(), some.end());
    context.restart();
    context.poll();
  }
  const std::vector<int> rest = drain();
  received.insert(received.end(), rest.begin(), rest.end());
  EXPECT_EQ(received, numbers(0, 64));
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->count, 64U);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchFull, KeepsWhatWasNotSentWhenItIsCancelled) {
  const auto expect_aborted = [&](int first, auto cancel) {
    start_send();
    cancel();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    const std::vector<int> sent = drain();
    EXPECT_EQ(sent, numbers(first, first + static_cast<int>(result->count)));
    EXPECT_EQ(in_use(), 64U - static_cast<std::size_t>(first) - sent.size());
  };
  expect_aborted(0, [&] { signal.emit(asio::cancellation_type::terminal); });
  int first = 64 - static_cast<int>(in_use());
  expect_aborted(first, [&] { signal.emit(asio::cancellation_type::partial); });
  first = 64 - static_cast<int>(in_use());
  expect_aborted(first, [&] { pair.near.cancel(); });
  first = 64 - static_cast<int>(in_use());
  expect_aborted(first, [&] { pair.near.close(); });
  EXPECT_GT(in_use(), 0U);
  batch.clear();
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatchFull, IsNotEndedByTotalCancellationBecauseDatagramsAreOut) {
  start_send();
  signal.emit(asio::cancellation_type::total);
  context.poll();
  EXPECT_FALSE(result);
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(UdpBatchFull, KeepsACancellationThatComesBetweenTwoSteps) {
  asio::io_context other;
  net::async_send(pair.near, batch, asio::bind_executor(other, asio::bind_cancellation_slot(signal.slot(), store())));
  const std::vector<int> sent = drain();
  context.run();  // there is room: the next step is on its way to its executor
  signal.emit(asio::cancellation_type::terminal);
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(result->count, sent.size());
  EXPECT_FALSE(next()) << "nothing was sent after that";
}

TEST_F(UdpBatchFull, GoesOnAfterADatagramThatIsRefusedWhileItWaits) {
  start_send();
  const std::vector<int> before = drain();
  bool first = true;
  on_send = [&] { return std::exchange(first, false) ? EPERM : 0; };
  std::vector<int> after;
  while (!result) {
    context.restart();
    context.poll();
    const std::vector<int> some = drain();
    after.insert(after.end(), some.begin(), some.end());
  }
  const auto refused = before.size();
  EXPECT_EQ(result->count, 63U);
  EXPECT_EQ(batch[refused].error, asio::error::no_permission);
  EXPECT_TRUE(batch[refused].bytes);
  EXPECT_EQ(after, numbers(static_cast<int>(refused) + 1, 64));
  EXPECT_EQ(in_use(), 1U);
}

TEST_F(UdpBatchFull, DiesWithItsContextAndTheBatchKeepsItsBlocks) {
  {
    asio::io_context own;
    udp_pair::socket socket(own, udp::v4(), pair.near.release());
    net::async_send(socket, batch, net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    EXPECT_FALSE(drain().empty());
  }
  EXPECT_GT(in_use(), 0U);
  batch.clear();
  EXPECT_EQ(in_use(), 0U);
}

// --- cancellation, executors, allocators, tokens

TEST_F(UdpBatch, ReceiveIsCancelledBySocketCancelCloseAndSlot) {
  asio::cancellation_signal signal;
  const auto expect_aborted = [&](auto cancel) {
    result.reset();
    net::async_receive(pair.near, batch, asio::bind_cancellation_slot(signal.slot(), store()));
    context.restart();
    context.poll();
    cancel();
    context.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    EXPECT_EQ(result->count, 0U);
    EXPECT_EQ(in_use(), 0U);
  };
  expect_aborted([&] { signal.emit(asio::cancellation_type::total); });
  expect_aborted([&] { pair.near.cancel(); });
  expect_aborted([&] { pair.near.close(); });
}

TEST_F(UdpBatch, OnAClosedSocketCompletesWithAnError) {
  pair.near.close();
  net::async_receive(pair.near, batch, store());
  EXPECT_FALSE(result);
  run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  batch.push_back(filled("x"), pair.far.local_endpoint());
  result.reset();
  net::async_send(pair.near, batch, store());
  EXPECT_FALSE(result);
  run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  EXPECT_EQ(result->count, 0U);
  EXPECT_EQ(in_use(), 1U) << "it is not lost";
}

TEST_F(UdpBatch, RunsTheHandlerOnItsOwnExecutor) {
  asio::io_context other;
  const auto expect_there = [&](auto start) {
    result.reset();
    other.restart();
    start(asio::bind_executor(other, store()));
    run();
    EXPECT_FALSE(result);
    other.run();
    EXPECT_TRUE(result);
  };
  pair.send("x");
  expect_there([&](auto token) { net::async_receive(pair.near, batch, token); });
  expect_there([&](auto token) { net::async_send(pair.near, batch, token); });
  asio::any_io_executor erased = other.get_executor();
  const auto expect_erased = [&](auto start) {
    expect_there([&](auto) { start(asio::bind_executor(erased, store())); });
  };
  pair.send("x");
  expect_erased([&](auto token) { net::async_receive(pair.near, batch, token); });
  expect_erased([&](auto token) { net::async_send(pair.near, batch, token); });
  // Through a strand, too.
  pair.send("x");
  auto strand = asio::make_strand(context);
  bool in_strand = false;
  net::async_receive(pair.near, batch, asio::bind_executor(strand, [&](asio::error_code, std::size_t) {
                       in_strand = strand.running_in_this_thread();
                     }));
  run();
  EXPECT_TRUE(in_strand);
}

TEST_F(UdpBatch, OnASocketClosedBetweenReadinessAndReceivingIsAborted) {
  asio::io_context other;
  net::async_receive(pair.near, batch, asio::bind_executor(other, store()));
  pair.send("for the old one");
  run();  // readiness is known, the step that receives is on its way to its executor
  udp_pair another(context);
  pair.near.close();
  // The descriptor's number is soon that of another socket, which has datagrams of its own.
  pair.near = std::move(another.near);
  another.far.send_to(asio::buffer("for the new one", 15), pair.near.local_endpoint());
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_EQ(in_use(), 0U);
}

TEST_F(UdpBatch, KeepsACancellationOfAReceiveThatComesBetweenTwoSteps) {
  asio::io_context other;
  asio::cancellation_signal signal;
  net::async_receive(pair.near, batch,
                     asio::bind_executor(other, asio::bind_cancellation_slot(signal.slot(), store())));
  pair.send("x");
  run();  // readiness is known: no wait to cancel
  std::array<char, 1> taken{};
  pair.near.receive(asio::buffer(taken));  // and somebody else was faster
  signal.emit(asio::cancellation_type::terminal);
  other.run();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
}

TEST_F(UdpBatch, TakesItsStateFromTheHandlersAllocator) {
  concurrent_pool handlers;
  net::async_receive(pair.near, batch, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U);
  pair.send("x");
  run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
  net::async_send(pair.near, batch, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U) << "the completion, on its way";
  run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
}

TEST_F(UdpBatch, CompletesAFuture) {
  const auto work = asio::make_work_guard(context);
  std::jthread runner([&] { context.run(); });
  std::future<std::size_t> received = net::async_receive(pair.near, batch, asio::use_future);
  pair.send("future");
  EXPECT_EQ(received.get(), 1U);
  std::future<std::size_t> sent = net::async_send(pair.near, batch, asio::use_future);
  EXPECT_EQ(sent.get(), 1U);
  EXPECT_EQ(pair.receive(), "future");
  context.stop();
}

#if defined(ASIO_HAS_CO_AWAIT)
TEST_F(UdpBatch, CompletesACoroutine) {
  std::size_t echoed = 0;
  const auto echo = [&]() -> asio::awaitable<void> {
    net::udp_batch own(pool);
    while (echoed < 3) {
      co_await net::async_receive(pair.near, own, net::bind_pool(pool, asio::use_awaitable));
      echoed += co_await net::async_send(pair.near, own, asio::use_awaitable);
    }
  };
  asio::co_spawn(context, echo(), asio::detached);
  pair.send("1");
  context.poll();
  pair.send("2");
  pair.send("3");
  run();
  EXPECT_EQ(echoed, 3U);
  EXPECT_EQ(in_use(), 0U);
}
#endif

TEST_F(UdpBatch, OperationsThatDieWithTheirContextHoldNothing) {
  {
    asio::io_context own;
    udp_pair mine(own);
    net::async_receive(mine.near, batch, net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    own.poll();
    EXPECT_EQ(in_use(), 1U) << "the operation's state";
  }
  EXPECT_EQ(in_use(), 0U);
  {
    asio::io_context own;
    udp_pair mine(own);
    batch.push_back(filled("x"), mine.far.local_endpoint());
    net::async_send(mine.near, batch, net::bind_pool(pool, [](asio::error_code, std::size_t) { FAIL(); }));
    EXPECT_EQ(in_use(), 1U) << "the completion";
  }
  EXPECT_EQ(in_use(), 0U);
}

// An echo on one socket, ended after so many handlers.
TEST_F(UdpBatch, LosesNoBlockWhereverItsSocketIsClosed) {
  for (const bool closes : {true, false}) {
    for (int steps = 0; steps < 40; ++steps) {
      asio::io_context own;
      udp_pair mine(own);
      net::udp_batch echoed(pool, {.datagrams_max = 3});
      std::function<void(asio::error_code)> on_sent;
      const auto on_received = [&](asio::error_code ec, std::size_t) {
        if (ec) return;
        net::async_send(mine.near, echoed,
                        net::bind_pool(pool, [&](asio::error_code error, std::size_t) { on_sent(error); }));
      };
      on_sent = [&](asio::error_code ec) {
        if (!ec) net::async_receive(mine.near, echoed, net::bind_pool(pool, on_received));
      };
      on_sent({});
      for (int step = 0; step < steps; ++step) {
        mine.send("x");
        own.run_one();
      }
      closes ? mine.near.close() : mine.near.cancel();
      // A cancellation may find nothing to cancel, between two operations.
      own.poll();
      mine.near.close();
      own.run();
      echoed.clear();
      ASSERT_EQ(in_use(), 0U) << steps;
    }
  }
  EXPECT_TRUE(pool.check_invariants());
}

// What the thread that runs the context takes from the heap in steady state, with several sockets at once,
// because Asio by itself keeps memory for one operation of a kind.
template <class Pair>
class UdpBatchAllocations : public ::testing::Test {};
using all_pairs = ::testing::Types<udp_pair, support::basic_udp_pair<asio::any_io_executor>>;
TYPED_TEST_SUITE(UdpBatchAllocations, all_pairs);

TYPED_TEST(UdpBatchAllocations, NonePerBatch) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  constexpr std::size_t sockets = 8;
  constexpr int warm_up = 50;
  constexpr int counted = 200;
  constexpr int per_batch = 5;
  concurrent_pool pool;
  asio::io_context context;
  struct session {
    session(asio::io_context& io, concurrent_pool& from) : pair(io), pool(from), batch(from, {.datagrams_max = 5}) {}
    void receive() {
      net::async_receive(pair.near, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t) {
                           if (!ec) echo();
                         }));
    }
    void echo() {
      net::async_send(pair.near, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t count) {
                        echoed += count;
                        if (!ec) receive();
                      }));
    }
    TypeParam pair;
    concurrent_pool& pool;
    net::udp_batch batch;
    std::size_t echoed = 0;
  };
  std::vector<std::unique_ptr<session>> sessions;
  for (std::size_t index = 0; index < sockets; ++index) {
    sessions.push_back(std::make_unique<session>(context, pool));
    sessions.back()->receive();
  }
  std::uint64_t before = 0;
  std::uint64_t allocations = ~std::uint64_t{0};
  std::array<char, 100> message{};
  // From within the context: Asio recycles memory only while it runs.
  asio::post(context, [&] {
    for (int trip = 0; trip < warm_up + counted; ++trip) {
      if (trip == warm_up) before = support::heap_allocations_of_this_thread();
      for (const auto& each : sessions) {
        for (int index = 0; index < per_batch; ++index) {
          each->pair.far.send_to(asio::buffer(message), each->pair.near.local_endpoint());
        }
      }
      for (const auto& each : sessions) {
        const std::size_t wanted = static_cast<std::size_t>(trip + 1) * per_batch;
        while (each->echoed < wanted) context.run_one();
        udp::endpoint from;
        for (int index = 0; index < per_batch; ++index) each->pair.far.receive_from(asio::buffer(message), from);
      }
    }
    allocations = support::heap_allocations_of_this_thread() - before;
    for (const auto& each : sessions) each->pair.near.close();
  });
  context.run();
  EXPECT_EQ(allocations, 0U);
}

}  // namespace
}  // namespace slabbuf
