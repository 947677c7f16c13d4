// SPDX-License-Identifier: MIT
// Work that waits for a disk: what it comes to, and what it throws, gets where it is waited for.
#include "http/blocking_threads.hpp"

#include <gtest/gtest.h>

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

namespace slabbuf::examples {
namespace {

TEST(BlockingThreads, BringHomeWhatTheWorkComesTo) {
  asio::io_context home;
  blocking_threads threads(1);
  const std::thread::id here = std::this_thread::get_id();
  int calls = 0;
  threads.run(
      home,
      [here, value = std::make_unique<int>(7)] {
        EXPECT_NE(std::this_thread::get_id(), here);
        return std::make_unique<int>(*value + 1);
      },
      [&, owned = std::make_unique<int>(1)](std::exception_ptr fault, std::unique_ptr<int> result) {
        EXPECT_EQ(std::this_thread::get_id(), here);
        EXPECT_EQ(fault, nullptr);
        EXPECT_EQ(*result, 8);
        calls += *owned;
      });
  home.run();
  EXPECT_EQ(calls, 1);
}

template <class Fault>
void expect_brought_home() {
  asio::io_context home;  // what the threads post to outlives them
  blocking_threads threads(1);
  int calls = 0;
  threads.run(
      home, []() -> int { throw Fault(); },
      [&](const std::exception_ptr& fault, int result) {
        ++calls;
        EXPECT_EQ(result, 0);
        ASSERT_NE(fault, nullptr);
        EXPECT_THROW(std::rethrow_exception(fault), Fault);
      });
  home.run();
  EXPECT_EQ(calls, 1);
}

struct other_fault : std::runtime_error {
  other_fault() : std::runtime_error("other") {}
};

TEST(BlockingThreads, BringHomeWhatTheWorkThrows) {
  expect_brought_home<std::bad_alloc>();
  expect_brought_home<other_fault>();
}

// Neither work nor what follows is lost with an io_context that does not run any more.
TEST(BlockingThreads, GiveUpWhatNobodyWaitsFor) {
  const auto owned = std::make_shared<int>(1);
  blocking_threads threads(1);
  {
    asio::io_context home;
    threads.run(
        home, [owned] { return 1; }, [owned](const std::exception_ptr&, int) { FAIL(); });
    threads.join();
  }
  EXPECT_EQ(owned.use_count(), 1);
}

}  // namespace
}  // namespace slabbuf::examples
