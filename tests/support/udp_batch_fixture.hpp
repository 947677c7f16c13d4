// SPDX-License-Identifier: MIT
// What tests of udp_batch have in common. recvmmsg, sendmmsg and the options of UDP can be made to fail in programs
// with udp_batch_fixture.cpp: see `on_receive`, `on_send` and `unknown_option`.
// Threads: the hooks are of the thread that sets them.
// Lifetime: as the test.
#pragma once

#include <slabbuf/net/udp_batch.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/udp_pair.hpp"

namespace slabbuf::support {

/// What a call is to do instead of its work: an errno, or 0 for its work.
extern thread_local std::function<int()> on_receive;
extern thread_local std::function<int()> on_send;
/// An option of UDP that the system has never heard of; 0: none.
extern thread_local int unknown_option;

inline std::string text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct outcome {
  asio::error_code ec;
  std::size_t count;
};

/// A socket on loopback with its peer, a batch, and how the last operation ended.
class udp_batch_fixture : public ::testing::Test {
 protected:
  ~udp_batch_fixture() override {
    on_receive = on_send = nullptr;
    unknown_option = 0;
  }

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

}  // namespace slabbuf::support
