// SPDX-License-Identifier: MIT
// Framing: messages that end anywhere in reads and blocks.
#include <slabbuf/net/async_read_until.hpp>

#include <slabbuf/net/chain_view.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

std::string text_of(const buffer_chain& chain) {
  std::string text(chain.size(), '?');
  asio::buffer_copy(asio::buffer(text), net::const_chain_view(chain));
  return text;
}

class async_read_until_test : public ::testing::Test {
 protected:
  ~async_read_until_test() override {
    chain_.clear();
    EXPECT_EQ(pool_.stats().in_use, 0U);
  }
  auto store() {
    return [this](asio::error_code ec, std::size_t bytes) { result_.emplace(outcome{ec, bytes}); };
  }
  void send(std::string_view text) { asio::write(pair_.far, asio::buffer(text)); }
  void run() {
    result_.reset();
    context_.restart();
    context_.run();
    ASSERT_TRUE(result_);
  }

  struct outcome {
    asio::error_code ec;
    std::size_t bytes;
  };
  local_pool pool_;
  buffer_chain chain_;
  asio::io_context context_;
  support::loopback_pair pair_{context_};
  std::optional<outcome> result_;
};

TEST_F(async_read_until_test, WhatCameWithAMessageIsThereForTheNext) {
  send("one\r\ntwo\r\nthr");
  net::async_read_until(pair_.near, chain_, pool_, "\r\n", store());
  EXPECT_FALSE(result_) << "not within the call";
  run();
  EXPECT_FALSE(result_->ec);
  EXPECT_EQ(result_->bytes, 5U);
  EXPECT_EQ(text_of(chain_.split(5)), "one\r\n");
  net::async_read_until(pair_.near, chain_, pool_, "\r\n", store());
  EXPECT_FALSE(result_ && result_->bytes == 0) << "not within the call either";
  run();
  EXPECT_EQ(text_of(chain_.split(result_->bytes)), "two\r\n");
  net::async_read_until(pair_.near, chain_, pool_, "\r\n", store());
  send("ee\r");
  send("\n");
  run();
  EXPECT_EQ(text_of(chain_.split(result_->bytes)), "three\r\n");
  EXPECT_TRUE(chain_.empty());
}

// Each byte comes in a block of its own, which is not kept for it: they are in blocks of 512, 512, 1024 and 2048 bytes.
TEST_F(async_read_until_test, AMessageThatComesByteByByteTakesFewBlocks) {
  const std::string message(3000, 'x');
  net::async_read_exactly(pair_.near, chain_, pool_, message.size(), store());
  for (const char& each : message) {
    send({&each, 1});
    context_.run_one();
  }
  while (!result_) ASSERT_NE(context_.run_one(), 0U);
  EXPECT_FALSE(result_->ec);
  EXPECT_EQ(text_of(chain_), message);
  EXPECT_EQ(chain_.block_count(), 4U);
  EXPECT_EQ(chain_.pinned_bytes(), 4096U);
}

TEST_F(async_read_until_test, TheBeginningOfAMessageTakesASmallBlock) {
  net::async_read_exactly(pair_.near, chain_, pool_, 2, store());
  send("x");
  context_.poll();
  EXPECT_EQ(chain_.pinned_bytes(), net::read_bytes_least);
  send("y");
  run();
}

TEST_F(async_read_until_test, BytesArePutBehindNoneThatSomebodyElseHas) {
  send("one\r\ntwo");
  net::async_read_until(pair_.near, chain_, pool_, "\r\n", store());
  run();
  const buffer_chain first = chain_.split(result_->bytes);  // an owner of the same block
  send("\r\n");
  net::async_read_until(pair_.near, chain_, pool_, "\r\n", store());
  run();
  EXPECT_EQ(text_of(chain_), "two\r\n");
  EXPECT_EQ(text_of(first), "one\r\n");
  EXPECT_EQ(chain_.block_count(), 2U);
}

// A chain that the program has begun in a pool that clears nothing, and bytes that are to be cleared.
TEST_F(async_read_until_test, SecretsArePutBehindNothingThatIsNotCleared) {
  local_pool careless({.zero = zeroing::none});
  for (const bool cleared : {false, true}) {
    buffer begun = careless.acquire(100);
    begun.resize(1);
    if (cleared) begun.clear_on_release();
    chain_.append(std::move(begun));
    send("secret");
    net::async_read_exactly(pair_.near, chain_, pool_, 7, store());  // pool_ clears
    run();
    EXPECT_EQ(chain_.size(), 7U);
    EXPECT_EQ(chain_.block_count(), cleared ? 1U : 2U);
    chain_.clear();
  }
}

TEST_F(async_read_until_test, HoldsNoBlockWhileThePeerIsSilent) {
  net::async_read_until(pair_.near, chain_, pool_, "\n", store());
  context_.poll();
  EXPECT_EQ(pool_.stats().in_use, 0U);
  pair_.near.cancel();
  run();
  EXPECT_EQ(result_->ec, asio::error::operation_aborted);
}

TEST_F(async_read_until_test, ReadsExactly) {
  send("0123456789");
  net::async_read_exactly(pair_.near, chain_, pool_, 4, store());
  run();
  EXPECT_FALSE(result_->ec);
  EXPECT_EQ(result_->bytes, 4U);
  chain_.consume(4);
  net::async_read_exactly(pair_.near, chain_, pool_, 0, store());
  run();
  EXPECT_FALSE(result_->ec);
  EXPECT_EQ(result_->bytes, 0U);
  net::async_read_exactly(pair_.near, chain_, pool_, 9, store());
  send("abc");
  run();
  EXPECT_EQ(result_->bytes, 9U);
  EXPECT_EQ(text_of(chain_), "456789abc");
}

TEST_F(async_read_until_test, AnEndBeforeTheMessageIsKeepsTheBytes) {
  send("half");
  pair_.far.shutdown(asio::socket_base::shutdown_send);
  net::async_read_exactly(pair_.near, chain_, pool_, 100, store());
  run();
  EXPECT_EQ(result_->ec, asio::error::eof);
  EXPECT_EQ(result_->bytes, 0U);
  EXPECT_EQ(text_of(chain_), "half");
}

TEST_F(async_read_until_test, SaysWhenAMessageIsTooLong) {
  send(std::string(5000, 'x'));
  net::async_read_until(pair_.near, chain_, pool_, "\n", store(), 1000);
  run();
  EXPECT_EQ(result_->ec, asio::error::not_found);
  EXPECT_GE(chain_.size(), 1000U);
}

TEST_F(async_read_until_test, ReportsABudgetWithoutRoom) {
  local_pool tight({.budget_bytes_max = 512});
  buffer_chain chain;
  send(std::string(3000, 'x'));
  net::async_read_until(pair_.near, chain, tight, "\n", store());
  run();
  EXPECT_EQ(result_->ec, asio::error::no_buffer_space);
  EXPECT_EQ(chain.size(), 512U);
}

TEST_F(async_read_until_test, IsCancelledThroughItsSlot) {
  asio::cancellation_signal signal;
  net::async_read_exactly(pair_.near, chain_, pool_, 10, asio::bind_cancellation_slot(signal.slot(), store()));
  send("some");
  context_.poll();
  signal.emit(asio::cancellation_type::terminal);
  run();
  EXPECT_EQ(result_->ec, asio::error::operation_aborted);
  EXPECT_EQ(text_of(chain_), "some");
}

TEST_F(async_read_until_test, TakesItsStateFromTheHandlersAllocator) {
  local_pool handlers;
  net::async_read_exactly(pair_.near, chain_, pool_, 10, net::bind_pool(handlers, store()));
  EXPECT_EQ(handlers.stats().in_use, 1U);
  send("0123456789");
  run();
  EXPECT_EQ(handlers.stats().in_use, 0U);
}

TEST(chain_search_test, FindsWhatAStringWould) {
  local_pool pool({.size_classes = {1, 4}});
  for (const std::string_view text : {"", "a", "aab", "abababac", "xxabxab\r\n\r\r\nend", "aaaaaaaaab"}) {
    for (const std::size_t block : std::initializer_list<std::size_t>{1, 2, 3, 4}) {
      buffer_chain chain;
      for (std::size_t position = 0; position < text.size(); position += block) {
        chain.append_copy(pool, std::as_bytes(std::span(text.substr(position, block))));
        chain.append(pool.acquire(0));
      }
      for (const std::string_view pattern : {"a", "ab", "aab", "abac", "\r\n", "\r\n\r\n", "b", "end", ""}) {
        for (std::size_t from = 0; from <= text.size() + 1; ++from) {
          const std::size_t expected = text.find(pattern, from);
          EXPECT_EQ(net::detail::find(chain, pattern, from),
                    expected == std::string_view::npos ? net::detail::npos : expected)
              << text << " / " << pattern << " / " << from;
        }
      }
    }
  }
}

}  // namespace
}  // namespace slabbuf
