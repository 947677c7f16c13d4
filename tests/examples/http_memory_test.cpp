// SPDX-License-Identifier: MIT
// An HTTP server whose budget is spent: who waits for memory is told so in time, and who keeps it without need goes.
#include "http/blocking_threads.hpp"
#include "http/http_server.hpp"
#include "support/http_client.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>

namespace slabbuf::examples {
namespace {

using support::http_answer;
using support::http_client;

constexpr std::size_t budget_bytes = std::size_t{1} << 20;
constexpr std::size_t text_bytes = 60'000;
class text_handler final : public http_handler {
 public:
  void handle(http_exchange_ptr exchange) override {
    exchange->response().body = http_body(std::string(text_bytes, 'x'));
    http_exchange::respond(std::move(exchange));
  }
};

class HttpMemory : public ::testing::Test {
 protected:
  HttpMemory() {
    server.start();
    serving = std::thread([this] { server.run(); });
  }
  ~HttpMemory() override {
    server.drain();
    server.drain();
    serving.join();
  }

  static http_options options() {
    http_options made;
    made.plain.emplace(asio::ip::address_v4::loopback(), std::uint16_t{0});
    made.limits.memory_timeout = std::chrono::seconds(1);
    // What ends them is what is looked at here.
    made.limits.idle_timeout = std::chrono::hours(1);
    return made;
  }

  // Whether somebody gets an answer in the end, however often it is refused before.
  bool answers() {
    for (int turn = 0; turn < 30; ++turn) {
      const http_answer answer = http_client(*server.plain_endpoint()).ask("GET /", "Connection: close\r\n");
      if (answer.status == 200) return true;
      EXPECT_EQ(answer.status, 503);
    }
    return false;
  }

  concurrent_pool pool{{.budget_bytes_max = budget_bytes}};
  blocking_threads threads{1};
  http_server server{options(), pool, threads, [](asio::io_context&) { return std::make_unique<text_handler>(); }};
  std::thread serving;
};

TEST_F(HttpMemory, IsWaitedForUntil503) {
  http_client kept(*server.plain_endpoint());
  EXPECT_EQ(kept.ask("GET /").status, 200);
  pool.trim();
  std::deque<buffer> all;
  http_answer refused;
  // What an answer took may come back after the client has the answer: the next turn takes it.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  do {
    for (std::size_t bytes = budget_bytes; bytes >= 64; bytes /= 2) {
      while (buffer got = pool.try_acquire(bytes)) all.push_back(std::move(got));
    }
    refused = kept.ask("GET /");
  } while (refused.status == 200 && std::chrono::steady_clock::now() < limit);
  ASSERT_EQ(refused.status, 503);
  EXPECT_EQ(refused.field("connection"), "close");
  EXPECT_TRUE(kept.ends());
  all.clear();
  EXPECT_TRUE(answers());
}

// More answers asked for than sockets take, by clients that hold all of the budget soon.
class HttpMemoryOfSlowReaders : public HttpMemory {
 protected:
  HttpMemoryOfSlowReaders() {
    std::string many;
    for (int index = 0; index < 200; ++index) many += "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (int index = 0; index < 40; ++index) {
      slow.emplace_back(*server.plain_endpoint());
      slow.back().send(many);
    }
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!pool.has_waiters() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    EXPECT_TRUE(pool.has_waiters());
  }

  std::deque<http_client> slow;
};

TEST_F(HttpMemoryOfSlowReaders, IsTakenFromThoseThatReadNothing) { EXPECT_TRUE(answers()); }

TEST_F(HttpMemoryOfSlowReaders, IsTakenFromThoseThatReadAByteNowAndThen) {
  std::jthread dripping([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (http_client& each : slow) {
        char byte = 0;
        ::recv(each.socket().native_handle(), &byte, 1, MSG_DONTWAIT);
      }
      ::poll(nullptr, 0, 10);  // a hundred bytes a second
    }
  });
  EXPECT_TRUE(answers());
}

}  // namespace
}  // namespace slabbuf::examples
