// SPDX-License-Identifier: MIT
// Where a server on stock Asio allocates for each request, and what takes its place. The counts are those of
// net/README.md: --gtest_output=json:FILE has them as `stock` and `ours`, allocations per 100 round trips.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include "support/counting_allocator.hpp"
#include "support/loopback_pair.hpp"

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(ASIO_HAS_CO_AWAIT)
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/use_awaitable.hpp>
#endif

namespace slabbuf {
namespace {

using namespace std::chrono_literals;
// What a server has that names no executor, tcp::socket.
using any_loopback_pair = support::basic_loopback_pair<asio::any_io_executor>;
using socket = any_loopback_pair::socket;
using timer = asio::steady_timer;

constexpr std::size_t message_bytes = 64;
constexpr auto timeout = 30s;

class net_allocations_test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!support::heap_counting_available()) GTEST_SKIP() << "somebody else's malloc";
  }

  // Allocations per 100 round trips over ten connections, whose sessions `begin` returns. The client is a thread of its
  // own that blocks and allocates nothing; the server is in one call of run(), as it is what Asio's recycled memory is
  // bound to.
  template <class Session>
  static std::uint64_t per_100_round_trips(Session begin) {
    asio::io_context context{1};
    std::vector<std::unique_ptr<any_loopback_pair>> connections;
    std::vector<std::invoke_result_t<Session, asio::io_context&, socket&>> sessions;
    for (int count = 0; count < 10; ++count) {
      connections.push_back(std::make_unique<any_loopback_pair>(context));
      sessions.push_back(begin(context, connections.back()->near));
    }
    std::uint64_t allocations = 0;
    std::jthread client([&] {
      const auto ten_round_trips_each = [&] {
        std::array<std::byte, message_bytes> message{};
        for (int trip = 0; trip < 10; ++trip) {
          for (const auto& each : connections) asio::write(each->far, asio::buffer(message));
          for (const auto& each : connections) asio::read(each->far, asio::buffer(message));
        }
      };
      ten_round_trips_each();
      const std::uint64_t before = support::heap_allocations_of_the_process();
      ten_round_trips_each();
      allocations = support::heap_allocations_of_the_process() - before;
      for (const auto& each : connections) each->far.close();
      context.stop();  // `read || timer` would wait for the timer
    });
    context.run();
    client.join();
    return allocations;
  }

  static void expect(std::uint64_t stock, std::uint64_t ours) {
    RecordProperty("stock", std::to_string(stock));
    RecordProperty("ours", std::to_string(ours));
    EXPECT_EQ(ours, 0U);
  }

  local_pool pool;
};

// A deadline for each operation.
struct timed_echo {
  explicit timed_echo(socket& peer) : connection(peer) {}

  void read() {
    idle.expires_after(timeout);
    idle.async_wait([this](asio::error_code ec) {
      if (!ec) connection.close();
    });
    connection.async_read_some(asio::buffer(bytes), [this](asio::error_code ec, std::size_t count) {
      if (ec) return static_cast<void>(idle.cancel());
      asio::async_write(connection, asio::buffer(bytes, count), [this](asio::error_code failed, std::size_t) {
        failed ? static_cast<void>(idle.cancel()) : read();
      });
    });
  }

  socket& connection;
  timer idle{connection.get_executor()};
  std::array<std::byte, message_bytes> bytes{};
};

struct timed_pool_echo {
  explicit timed_pool_echo(socket& peer, local_pool& memory) : connection(peer), pool(memory) {}

  void read() {
    idle.expires_after(timeout);
    net::async_read_some(connection, pool, net::bind_pool(pool, [this](asio::error_code ec, buffer received) {
                           if (ec) return idle.cancel();
                           net::async_write(connection, std::move(received),
                                            net::bind_pool(pool, [this](asio::error_code failed, std::size_t) {
                                              failed ? idle.cancel() : read();
                                            }));
                         }));
  }

  socket& connection;
  local_pool& pool;
  net::deadline_wheel<> wheel{connection.get_executor()};
  struct close {
    socket* connection;
    void operator()() const { connection->close(); }
  };
  net::deadline<close> idle{wheel, close{&connection}};
};

TEST_F(net_allocations_test, ADeadlineForEachOperation) {
  expect(per_100_round_trips([](asio::io_context&, socket& peer) {
           auto session = std::make_unique<timed_echo>(peer);
           session->read();
           return session;
         }),
         per_100_round_trips([this](asio::io_context&, socket& peer) {
           auto session = std::make_unique<timed_pool_echo>(peer, pool);
           session->read();
           return session;
         }));
}

#if defined(ASIO_HAS_CO_AWAIT)
using asio::awaitable;
using asio::use_awaitable;

// A buffer that lives across a co_await of the function that has it.
awaitable<void> echo_once(socket& peer) {
  std::array<std::byte, 2048> bytes;
  const std::size_t count = co_await peer.async_read_some(asio::buffer(bytes), use_awaitable);
  co_await asio::async_write(peer, asio::buffer(bytes, count), use_awaitable);
}
awaitable<void> echo_once(socket& peer, local_pool& pool) {
  buffer bytes = co_await net::async_read_some(peer, pool, net::bind_pool(pool, use_awaitable));
  co_await net::async_write(peer, std::move(bytes), net::bind_pool(pool, use_awaitable));
}

// Until the peer closes. The coroutine owns itself.
template <class Loop>
std::nullptr_t spawn(asio::io_context& context, Loop loop) {
  asio::co_spawn(context, std::move(loop), [](std::exception_ptr) {});
  return nullptr;
}

TEST_F(net_allocations_test, ABufferInANestedCoroutine) {
  expect(per_100_round_trips([](asio::io_context& context, socket& peer) {
           return spawn(context, [&peer]() -> awaitable<void> {
             for (;;) co_await echo_once(peer);
           });
         }),
         per_100_round_trips([&](asio::io_context& context, socket& peer) {
           return spawn(context, [&peer, this]() -> awaitable<void> {
             for (;;) co_await echo_once(peer, pool);
           });
         }));
}

TEST_F(net_allocations_test, ACoroutineThatReadsOrGivesUp) {
  using namespace asio::experimental::awaitable_operators;
  const std::uint64_t stock = per_100_round_trips([](asio::io_context& context, socket& peer) {
    return spawn(context, [&peer]() -> awaitable<void> {
      timer idle(peer.get_executor());
      std::array<std::byte, message_bytes> bytes{};
      for (;;) {
        idle.expires_after(timeout);
        const auto first =
            co_await (peer.async_read_some(asio::buffer(bytes), use_awaitable) || idle.async_wait(use_awaitable));
        if (first.index() != 0) co_return;
        co_await asio::async_write(peer, asio::buffer(bytes, std::get<0>(first)), use_awaitable);
      }
    });
  });
  const std::uint64_t ours = per_100_round_trips([&](asio::io_context& context, socket& peer) {
    return spawn(context, [&peer, this]() -> awaitable<void> {
      net::deadline_wheel wheel(peer.get_executor());
      net::deadline idle(wheel, [&peer] { peer.close(); });
      for (;;) {
        idle.expires_after(timeout);
        co_await echo_once(peer, pool);
      }
    });
  });
  expect(stock, ours);
  EXPECT_GT(stock, 0U) << "whether what Asio allocates is seen at all";
}
#endif

}  // namespace
}  // namespace slabbuf
