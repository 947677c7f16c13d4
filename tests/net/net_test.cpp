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
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

using support::loopback_pair;

// One connection, echoed until it ends.
template <class Pool, class Socket = loopback_pair::socket>
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

  Socket& socket;
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
  // Small buffers in the kernel, so that not many bytes fill them.
  pair.near.set_option(asio::socket_base::send_buffer_size(16 << 10));
  pair.far.set_option(asio::socket_base::receive_buffer_size(16 << 10));
  std::string sent(std::size_t{512} << 10, 'x');
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

// What the thread that runs the context takes from the heap in steady state, with several connections
// at once, because Asio by itself keeps memory for one operation of a kind. run() must go on from the
// first round trip to the last, because Asio recycles memory only within it.
template <class Pair>
class allocation_probe {
 public:
  static constexpr int connections = 16;
  static constexpr int warm_up_trips = 100;
  static constexpr int counted_trips = 1000;

  allocation_probe() {
    for (int count = 0; count < connections; ++count) pairs_.push_back(std::make_unique<Pair>(context_));
  }

  asio::io_context& context() { return context_; }
  const std::vector<std::unique_ptr<Pair>>& pairs() const { return pairs_; }

  void trip_ended() {
    ++trips_;
    if (trips_ == warm_up_trips * connections) before_ = support::heap_allocations_of_this_thread();
    if (trips_ == (warm_up_trips + counted_trips) * connections) {
      counted_ = support::heap_allocations_of_this_thread() - before_;
    }
  }

  /// Runs the context against a client that makes plain calls, and returns the allocations counted.
  std::uint64_t run() {
    std::jthread client([&] {
      std::array<char, 64> message{};
      for (int trip = 0; trip < warm_up_trips + counted_trips; ++trip) {
        for (const auto& each : pairs_) asio::write(each->far, asio::buffer(message));
        for (const auto& each : pairs_) asio::read(each->far, asio::buffer(message));
      }
      for (const auto& each : pairs_) each->far.shutdown(asio::socket_base::shutdown_send);
    });
    context_.run();
    EXPECT_GE(trips_, (warm_up_trips + counted_trips) * connections);
    return counted_;
  }

 private:
  asio::io_context context_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  int trips_ = 0;
  std::uint64_t before_ = 0;
  std::uint64_t counted_ = ~std::uint64_t{0};
};

// asio::ip::tcp::socket, whose any_io_executor knows no allocators, and the socket of one known executor.
template <class Pair>
class NetAllocations : public ::testing::Test {};
using all_pairs = ::testing::Types<loopback_pair, support::basic_loopback_pair<asio::any_io_executor>>;
TYPED_TEST_SUITE(NetAllocations, all_pairs);

TYPED_TEST(NetAllocations, NonePerRoundTripWithCallbacks) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  concurrent_pool pool;
  allocation_probe<TypeParam> probe;
  std::vector<std::unique_ptr<callback_echo<concurrent_pool, typename TypeParam::socket>>> sessions;
  for (const auto& pair : probe.pairs()) {
    sessions.emplace_back(
        new callback_echo<concurrent_pool, typename TypeParam::socket>{pair->near, pool, [&] { probe.trip_ended(); }});
    sessions.back()->read();
  }
  EXPECT_EQ(probe.run(), 0U);
  EXPECT_GT(pool.stats().acquired, (2U + TypeParam::blocks_per_wait) * 1100U * probe.connections)
      << "a buffer, a wait and a completion each";
}

#if defined(ASIO_HAS_CO_AWAIT)
TYPED_TEST(NetAllocations, NonePerRoundTripWithCoroutines) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the sanitizer has replaced malloc";
  concurrent_pool pool;
  allocation_probe<TypeParam> probe;
  const auto session = [&](typename TypeParam::socket& socket) -> asio::awaitable<void> {
    try {
      for (;;) {
        buffer bytes = co_await net::async_read_some(socket, pool, net::bind_pool(pool, asio::use_awaitable));
        co_await net::async_write(socket, std::move(bytes), net::bind_pool(pool, asio::use_awaitable));
        probe.trip_ended();
      }
    } catch (const std::system_error&) {
      // The client has closed: the session ends.
    }
  };
  for (const auto& pair : probe.pairs()) asio::co_spawn(probe.context(), session(pair->near), asio::detached);
  EXPECT_EQ(probe.run(), 0U);
}
#endif

}  // namespace
}  // namespace slabbuf
