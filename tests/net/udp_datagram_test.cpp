// SPDX-License-Identifier: MIT
#include <slabbuf/net/udp_datagram.hpp>

#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace slabbuf {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class UdpDatagram : public ::testing::Test {
 protected:
  net::udp_datagram datagram(std::string_view text, std::size_t segment_bytes) {
    net::udp_datagram made;
    made.bytes = pool.acquire(text.size());
    if (!text.empty()) std::memcpy(made.bytes.data(), text.data(), text.size());
    made.segment_bytes = segment_bytes;
    return made;
  }
  local_pool pool;
};

TEST_F(UdpDatagram, IsSeveralWhereItsSegmentsAreSmaller) {
  const net::udp_datagram several = datagram("aabbc", 2);
  EXPECT_TRUE(several.is_several());
  ASSERT_EQ(several.count(), 3U);
  EXPECT_EQ(text_of(several.segment(0)), "aa");
  EXPECT_EQ(text_of(several.segment(1)), "bb");
  EXPECT_EQ(text_of(several.segment(2)), "c");
  EXPECT_EQ(datagram("aabb", 2).count(), 2U);
}

TEST_F(UdpDatagram, IsOneOtherwise) {
  for (const std::size_t segment_bytes : {0U, 3U, 100U}) {
    const net::udp_datagram one = datagram("abc", segment_bytes);
    EXPECT_FALSE(one.is_several()) << segment_bytes;
    EXPECT_EQ(one.count(), 1U);
    EXPECT_EQ(text_of(one.segment(0)), "abc");
  }
  EXPECT_EQ(datagram("", 2).count(), 1U);
  EXPECT_TRUE(datagram("", 2).segment(0).empty());
  EXPECT_EQ(net::udp_datagram().count(), 1U);
}

TEST_F(UdpDatagram, PartsOfItsBlockMayBeKept) {
  net::udp_datagram several = datagram("aabbc", 2);
  const shared_slice kept = several.bytes.share(2, several.segment(1).size());
  several.bytes.release();
  EXPECT_EQ(text_of(kept.span()), "bb");
}

}  // namespace
}  // namespace slabbuf
