// SPDX-License-Identifier: MIT
// The operations together: an echo, closed at every step, counted for allocations.
#include <slabbuf/net/net.hpp>

#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "support/counting_allocator.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using support::loopback_pair;

// One connection, echoed until it ends.
template <class Pool>
struct callback_echo {
  void read() {
    net::async_read_some(socket, pool, net::bind_pool(pool, [this](asio::error_code ec, buffer bytes) {
                           ec ? void(ended = true) : write(std::move(bytes));
                         }));
  }
  void write(buffer bytes) {
    net::async_write(socket, std::move(bytes), net::bind_pool(pool, [this](asio::error_code ec, std::size_t) {
                       on_trip();
                       ec ? void(ended = true) : read();
                     }));
  }

  loopback_pair::socket& socket;
  Pool& pool;
  std::function<void()> on_trip = [] {};
  bool ended = false;
};

// How a connection may end, from either side.
const std::array<std::pair<const char*, std::function<void(loopback_pair&)>>, 5> endings{{
    {"near closes", [](loopback_pair& pair) { pair.near.close(); }},
    {"near cancels", [](loopback_pair& pair) { pair.near.cancel(); }},
    {"far closes", [](loopback_pair& pair) { pair.far.close(); }},
    {"far half-closes", [](loopback_pair& pair) { pair.far.shutdown(asio::socket_base::shutdown_send); }},
    {"far resets", [](loopback_pair& pair) { pair.reset_far(); }},
}};

// An exchange of three messages, one of which fills the sockets, ended by `ending` after `steps`
// handlers. Returns whether the exchange was still going on by then.
template <class Pool>
bool exchange_ended_after(int steps, const std::function<void(loopback_pair&)>& ending, Pool& pool) {
  asio::io_context context;
  loopback_pair pair(context);
  callback_echo<Pool> echo{pair.near, pool};
  echo.read();
  std::string sent(std::size_t{4} << 20, 'x');
  std::string received(sent.size(), '\0');
  bool exchanged = false;
  asio::async_write(pair.far, asio::buffer(sent), [](asio::error_code, std::size_t) {});
  asio::async_read(pair.far, asio::buffer(received), [&](asio::error_code ec, std::size_t) { exchanged = !ec; });
  for (int step = 0; step < steps && !exchanged; ++step) context.run_one();
  const bool going_on = !exchanged;
  ending(pair);
  // A cancellation may find nothing to cancel, between two operations: then the exchange goes on.
  while (!echo.ended && !exchanged) context.run_one();
  pair.near.close();
  pair.far.close();
  context.run();
  return going_on;
}

TEST(Net, LosesNoBlockWhereverAConnectionEnds) {
  for (const auto& [name, ending] : endings) {
    SCOPED_TRACE(name);
    concurrent_pool shared;
    local_pool local;
    // Every step at the start, then coarser: the later steps repeat the earlier ones.
    for (int steps = 0, going_on = 1; going_on != 0; steps += steps < 40 ? 1 : 197) {
      SCOPED_TRACE(steps);
      going_on = exchange_ended_after(steps, ending, shared) ? 1 : 0;
      exchange_ended_after(steps, ending, local);
      ASSERT_EQ(shared.stats().in_use, 0U);
      ASSERT_EQ(local.stats().in_use, 0U);
      ASSERT_TRUE(shared.check_invariants());
      ASSERT_TRUE(local.check_invariants());
    }
  }
}

// What the thread that runs the context takes from the heap in steady state. run() must go on from
// the first round trip to the last, because Asio recycles memory only within it.
class allocation_probe {
 public:
  static constexpr int warm_up_trips = 100;
  static constexpr int counted_trips = 1000;

  void trip_ended() {
    ++trips_;
    if (trips_ == warm_up_trips) before_ = support::heap_allocations_of_this_thread();
    if (trips_ == warm_up_trips + counted_trips) counted_ = support::heap_allocations_of_this_thread() - before_;
  }

  /// Runs the context against a client that makes plain calls, and returns the allocations counted.
  std::uint64_t run(asio::io_context& context, loopback_pair& pair) {
    std::jthread client([&] {
      std::array<char, 64> message{};
      for (int trip = 0; trip < warm_up_trips + counted_trips; ++trip) {
        asio::write(pair.far, asio::buffer(message));
        asio::read(pair.far, asio::buffer(message));
      }
      pair.far.shutdown(asio::socket_base::shutdown_send);
    });
    context.run();
    EXPECT_GE(trips_, warm_up_trips + counted_trips);
    return counted_;
  }

 private:
  int trips_ = 0;
  std::uint64_t before_ = 0;
  std::uint64_t counted_ = ~std::uint64_t{0};
};

TEST(Net, AllocatesNothingPerRoundTripWithCallbacks) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  concurrent_pool pool;
  asio::io_context context;
  loopback_pair pair(context);
  allocation_probe probe;
  callback_echo<concurrent_pool> echo{pair.near, pool, [&] { probe.trip_ended(); }};
  echo.read();
  EXPECT_EQ(probe.run(context, pair), 0U);
  EXPECT_GT(pool.stats().acquired, 3300U) << "a buffer, a wait and a completion each";
}

#if defined(ASIO_HAS_CO_AWAIT)
TEST(Net, AllocatesNothingPerRoundTripWithCoroutines) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  concurrent_pool pool;
  asio::io_context context;
  loopback_pair pair(context);
  allocation_probe probe;
  const auto session = [&]() -> asio::awaitable<void> {
    try {
      for (;;) {
        buffer bytes = co_await net::async_read_some(pair.near, pool, net::bind_pool(pool, asio::use_awaitable));
        co_await net::async_write(pair.near, std::move(bytes), net::bind_pool(pool, asio::use_awaitable));
        probe.trip_ended();
      }
    } catch (const std::system_error&) {
      // The client has closed: the session ends.
    }
  };
  asio::co_spawn(context, session(), asio::detached);
  EXPECT_EQ(probe.run(context, pair), 0U);
}
#endif

}  // namespace
}  // namespace slabbuf
