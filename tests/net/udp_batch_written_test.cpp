// SPDX-License-Identifier: MIT
// What of a block counts as written by the datagrams that went through it.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_batch_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::text_of;

using UdpBatchWritten = support::udp_batch_fixture;

// The first 64 blocks of 2048 bytes that `pool` hands out next must be zero.
void expect_clean_blocks(concurrent_pool& pool) {
  const std::string zeros(2048, '\0');
  std::vector<buffer> blocks;
  for (std::size_t index = 0; index < 64; ++index) {
    blocks.push_back(pool.acquire(2048));
    EXPECT_TRUE(text_of(blocks.back()) == zeros) << "block " << index;
  }
}

TEST_F(UdpBatchWritten, CountsOnlyTheBytesThatArrivedAsWrittenWhereNoneWereDropped) {
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

TEST_F(UdpBatchWritten, LetsNothingOfADatagramWithAWrongChecksumLieInABlock) {
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

TEST_F(UdpBatchWritten, LetsNothingLieInABlockThatGotOnlyAWrongChecksum) {
  const corrupt_sender corrupt;
  if (!corrupt.allowed()) GTEST_SKIP() << "raw sockets are not allowed";
  corrupt.send(pair.near.local_endpoint(), 1500);
  net::async_receive(pair.near, batch, store());
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_EQ(in_use(), 0U);
  expect_clean_blocks(pool);
}

}  // namespace
}  // namespace slabbuf
