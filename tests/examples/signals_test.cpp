// SPDX-License-Identifier: MIT
#include "common/signals.hpp"

#include <gtest/gtest.h>
#include <unistd.h>
#include <asio/io_context.hpp>

#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

namespace slabbuf::examples {
namespace {

TEST(signals_test, CallsForEachSignalUntilItDies) {
  asio::io_context context;
  std::vector<int> received;
  {
    const signals some(context, {SIGUSR1, SIGUSR2}, [&](int number) { received.push_back(number); });
    ::kill(::getpid(), SIGUSR1);
    while (received.empty()) context.run_one();
    ::kill(::getpid(), SIGUSR2);
    ::kill(::getpid(), SIGUSR1);
    while (received.size() < 3) context.run_one();
  }
  EXPECT_EQ(received.front(), SIGUSR1);
  context.restart();
  context.run();
}

TEST(signals_test, ThreadsStartedLaterAreNotInterrupted) {
  asio::io_context context;
  int received = 0;
  const signals some(context, {SIGUSR1}, [&](int) { ++received; });
  std::jthread other([] { ::kill(::getpid(), SIGUSR1); });
  while (received == 0) context.run_one();
}

TEST(signals_test, AnActionMayThrow) {
  asio::io_context context;
  const signals some(context, {SIGUSR1}, [](int) { throw std::runtime_error("thrown"); });
  ::kill(::getpid(), SIGUSR1);
  EXPECT_THROW(context.run(), std::runtime_error);
}

}  // namespace
}  // namespace slabbuf::examples
