// SPDX-License-Identifier: MIT
// What tests of batches that coalesce have in common: a batch that does, and a peer whose datagrams come together.
// Threads: one.
// Lifetime: as the test.
#pragma once

#include <slabbuf/net/udp_batch.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/udp.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "support/udp_batch_fixture.hpp"

namespace slabbuf::support {

class udp_coalesce_fixture : public udp_batch_fixture {
 protected:
  // What the system does where nothing is made to fail.
  bool cuts = net::detail::knows_segments(pair.near.native_handle());
  bool joins =
      cuts && net::detail::receive_segments(asio::ip::udp::socket(context, asio::ip::udp::v4()).native_handle());

  /// The next `count` that the peer gets, and that they are all.
  std::vector<std::string> receive_far(std::size_t count) {
    std::vector<std::string> all;
    for (std::size_t index = 0; index < count; ++index) all.push_back(pair.receive());
    EXPECT_EQ(pair.far.available(), 0U);
    return all;
  }
  void send(net::udp_batch& what, udp_pair::socket& from) {
    result.reset();
    net::async_send(from, what, store());
    run();
  }
  void receive(net::udp_batch& into) {
    result.reset();
    net::async_receive(pair.near, into, store());
    run();
  }
  /// A receive that finds nothing has told the socket to join what comes from then on.
  void receive_nothing(net::udp_batch& into) {
    net::async_receive(pair.near, into, [](asio::error_code, std::size_t) {});
    pair.near.cancel();
    run();
  }
  std::vector<std::string> push(net::udp_batch& into, std::size_t count, std::size_t size) {
    std::vector<std::string> texts;
    for (std::size_t index = 0; index < count; ++index) {
      texts.emplace_back(size, static_cast<char>('a' + index % 26));
      into.push_back(filled(texts.back()), pair.far.local_endpoint());
    }
    return texts;
  }

  /// `count` texts of `size` bytes that tell each other apart.
  static std::vector<std::string> numbered(std::string_view name, std::size_t count, std::size_t size) {
    std::vector<std::string> texts;
    for (std::size_t index = 0; index < count; ++index) {
      texts.push_back(std::string(name) + std::to_string(index));
      texts.back().resize(size, '.');
    }
    return texts;
  }
  /// From the peer, in one message where the system cuts: of one size, but for the last one.
  void send_together(const std::vector<std::string>& texts, const asio::ip::udp::endpoint& to) {
    net::udp_batch source(far_pool, {.coalesce = true});
    for (const std::string& text : texts) source.push_back(filled(far_pool, text), to);
    send(source, pair.far);
    EXPECT_EQ(result->count, texts.size());
    EXPECT_EQ(source.stats().sent_coalesced, cuts ? texts.size() : 0U);
  }
  void send_together(const std::vector<std::string>& texts) { send_together(texts, pair.near.local_endpoint()); }
  /// The datagrams of a batch, each on its own.
  static std::vector<std::string> datagrams_of(const net::udp_batch& from) {
    std::vector<std::string> texts;
    for (const net::udp_datagram& each : from) {
      EXPECT_FALSE(each.truncated);
      for (std::size_t index = 0; index < each.count(); ++index) {
        const auto bytes = each.segment(index);
        texts.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }
    }
    return texts;
  }
  /// `first` with the others behind it.
  template <class... Texts>
  static std::vector<std::string> all_of(std::vector<std::string> first, const Texts&... others) {
    (first.insert(first.end(), others.begin(), others.end()), ...);
    return first;
  }

  /// A pair of IPv6 in the place of that of IPv4. False where there is none.
  bool use_ipv6() {
    try {
      pair = udp_pair(context, asio::ip::address_v6::loopback());
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }

  /// Forty of one size to one peer, whatever the addresses.
  void expect_to_leave_together() {
    const std::vector<std::string> texts = push(joined, 40, 200);
    send(joined, pair.near);
    EXPECT_FALSE(result->ec);
    EXPECT_EQ(result->count, 40U);
    EXPECT_EQ(in_use(), 0U);
    EXPECT_EQ(receive_far(40), texts);
    EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 40U : 0U);
    EXPECT_EQ(joined.stats().refused, cuts ? 0U : 1U);
  }
  /// Eleven from the peer to `here`, seen as coming from `there`.
  void expect_to_come_in_one_block_and_go_back_in_it(const asio::ip::udp::endpoint& here,
                                                     const asio::ip::udp::endpoint& there) {
    receive_nothing(joined);
    const std::vector<std::string> texts = all_of(numbered("", 10, 200), std::vector<std::string>{"rest"});
    send_together(texts, here);
    receive(joined);
    EXPECT_EQ(datagrams_of(joined), texts);
    EXPECT_EQ(joined.size(), joins ? 1U : 11U);
    EXPECT_EQ(in_use(), joined.size());
    EXPECT_EQ(joined.stats().received_coalesced, joins ? 11U : 0U);
    for (const net::udp_datagram& each : joined) EXPECT_EQ(each.peer, there);

    send(joined, pair.near);
    EXPECT_EQ(result->count, joined.size());
    EXPECT_EQ(in_use(), 0U);
    EXPECT_EQ(receive_far(11), texts);
    EXPECT_EQ(joined.stats().sent_coalesced, cuts ? 11U : 0U);
  }

  /// Nothing was lost in the socket of the side under test.
  void expect_none_dropped() { EXPECT_EQ(net::detail::dropped_datagrams(pair.near.native_handle()).value_or(0), 0U); }

  /// What a block of a batch that coalesces has of the budget.
  static constexpr std::size_t block_bytes = 65'536;

  concurrent_pool far_pool;
  net::udp_batch joined{pool, {.coalesce = true}};
};

/// Where the system joins datagrams, and two messages of several for it to join.
class udp_joined_fixture : public udp_coalesce_fixture {
 protected:
  void SetUp() override {
    if (!joins) GTEST_SKIP() << "the system does not join datagrams";
  }

  std::vector<std::string> first = numbered("first ", 10, 200);
  std::vector<std::string> second = numbered("second ", 64, 1000);
};

}  // namespace slabbuf::support
