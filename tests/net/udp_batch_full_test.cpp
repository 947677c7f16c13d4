// SPDX-License-Identifier: MIT
// A socket whose queue is full: over pairs of Unix datagram sockets, whose queues are short.
#include <slabbuf/net/udp_batch.hpp>

#include <slabbuf/net/handler_allocator.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/udp_batch_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::udp;
using support::on_send;
using support::udp_pair;

// A pair of Unix datagram sockets in place of a UDP pair: they hold a few datagrams and refuse more.
class UdpBatchFull : public support::udp_batch_fixture {
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

}  // namespace
}  // namespace slabbuf
