// SPDX-License-Identifier: MIT
// Files to a socket, to a stream that is none, and to a peer that reads slowly, has gone, or is left waiting.
#include <slabbuf/net/send_file.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffered_write_stream.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/use_future.hpp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "support/loopback_pair.hpp"
#include "support/memory_file.hpp"

namespace slabbuf {
namespace {

using support::loopback_pair;
using support::memory_file;

// Any AsyncWriteStream that is not a socket of Asio's.
struct other_stream {
  using executor_type = loopback_pair::socket::executor_type;
  executor_type get_executor() { return socket.get_executor(); }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return socket.async_write_some(buffers, std::forward<Token>(token));
  }
  loopback_pair::socket& socket;
};

std::string pattern(std::size_t count) {
  std::string made(count, '\0');
  for (std::size_t index = 0; index < count; ++index) made[index] = static_cast<char>(index * 2654435761U >> 13);
  return made;
}

// More than both sockets' kernel buffers take, so that it has to wait.
constexpr std::size_t large_bytes = std::size_t{16} << 20;

struct outcome {
  asio::error_code ec;
  std::size_t bytes;
};

class send_file_test : public ::testing::TestWithParam<bool> {
 protected:
  ~send_file_test() override { EXPECT_EQ(pool.stats().in_use, 0U); }

  auto store() {
    return [this](asio::error_code ec, std::size_t bytes) { result.emplace(outcome{ec, bytes}); };
  }

  // To the socket itself, or to a stream around it.
  template <class Pool, class Token>
  void send(Pool& from, int descriptor, std::uint64_t offset, std::size_t count, Token&& token) {
    if (GetParam()) {
      net::async_send_file(pair.near, from, descriptor, offset, count, std::forward<Token>(token));
    } else {
      net::async_send_file(other, from, descriptor, offset, count, std::forward<Token>(token));
    }
  }
  void send(int descriptor, std::uint64_t offset, std::size_t count) {
    send(pool, descriptor, offset, count, net::bind_pool(pool, store()));
  }
  // What the peer gets until it has `count` bytes or the end.
  std::string received(std::size_t count) {
    std::string all(count, '\0');
    asio::error_code ec;
    all.resize(asio::read(pair.far, asio::buffer(all), ec));
    return all;
  }

  concurrent_pool pool;
  asio::io_context context;
  loopback_pair pair{context};
  other_stream other{pair.near};
  std::optional<outcome> result;
};

INSTANTIATE_TEST_SUITE_P(to, send_file_test, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "socket" : "stream"; });

TEST_P(send_file_test, SendsThePartAndLeavesThePositionAlone) {
  const std::string content = pattern(300'000);
  const memory_file sent(content);
  ::lseek(sent.descriptor(), 7, SEEK_SET);
  send(sent.descriptor(), 1000, 250'000);
  EXPECT_FALSE(result) << "not within the call";
  context.run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, 250'000U);
  EXPECT_EQ(received(250'000), content.substr(1000, 250'000));
  EXPECT_EQ(::lseek(sent.descriptor(), 0, SEEK_CUR), 7);
}

TEST_P(send_file_test, WaitsForAPeerThatReadsSlowlyAndHoldsAtMostOneBlock) {
  const std::string content = pattern(large_bytes);
  const memory_file sent(content);
  send(sent.descriptor(), 0, large_bytes);
  context.poll();
  EXPECT_FALSE(result);
  // The block and the state of the operations.
  EXPECT_LE(pool.stats().in_use_bytes, GetParam() ? 4096U : (std::size_t{128} << 10) + 4096);
  std::thread reader([&] { EXPECT_TRUE(received(large_bytes) == content); });
  context.run();
  reader.join();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, large_bytes);
}

TEST_P(send_file_test, NothingIsSentAtOnceButNotWithinTheCall) {
  const memory_file empty("");
  send(empty.descriptor(), 0, 0);
  EXPECT_FALSE(result);
  context.run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, 0U);
}

TEST_P(send_file_test, AFileThatIsTooShortIsTheEnd) {
  const memory_file shorter(pattern(1000));
  send(shorter.descriptor(), 400, 5000);
  context.run();
  EXPECT_EQ(result->ec, asio::error::eof);
  EXPECT_EQ(result->bytes, 600U);
  EXPECT_EQ(received(600).size(), 600U);
}

TEST_P(send_file_test, SaysWhatReadingSays) {
  send(-1, 0, 10);
  context.run();
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  EXPECT_EQ(result->bytes, 0U);
}

TEST_P(send_file_test, APeerThatHasGoneIsAnErrorAndNoSignal) {
  const memory_file sent(pattern(large_bytes));
  ASSERT_NE(std::signal(SIGPIPE, SIG_DFL), SIG_ERR);  // it would end this program
  pair.reset_far();
  send(sent.descriptor(), 0, large_bytes);
  context.run();
  EXPECT_TRUE(result->ec == asio::error::broken_pipe || result->ec == asio::error::connection_reset) << result->ec;
  context.restart();
  send(sent.descriptor(), 0, large_bytes);
  context.run();
  EXPECT_EQ(result->ec, asio::error::broken_pipe);
}

// In the midst of a call, which then says how much it did, while the signal comes all the same.
TEST_P(send_file_test, APeerThatGoesMeanwhileIsAnErrorAndNoSignal) {
  const memory_file sent(pattern(large_bytes));
  ASSERT_NE(std::signal(SIGPIPE, SIG_DFL), SIG_ERR);
  for (int round = 0; round < 100; ++round) {
    loopback_pair mine(context);
    other_stream around{mine.near};
    std::thread peer([&] {
      char some[1000];
      asio::error_code ec;
      // Whoever has said goodbye is met with EPIPE, not with ECONNRESET.
      mine.far.shutdown(loopback_pair::socket::shutdown_send);
      asio::read(mine.far, asio::buffer(some), ec);
      mine.reset_far();
    });
    result.reset();
    context.restart();
    if (GetParam()) {
      net::async_send_file(mine.near, pool, sent.descriptor(), 0, large_bytes, store());
    } else {
      net::async_send_file(around, pool, sent.descriptor(), 0, large_bytes, store());
    }
    context.run();
    peer.join();
    ASSERT_TRUE(result->ec == asio::error::broken_pipe || result->ec == asio::error::connection_reset) << result->ec;
  }
}

TEST_P(send_file_test, IgnoringTheSignalIsAnErrorAllTheSame) {
  const memory_file sent(pattern(large_bytes));
  net::ignore_sigpipe();
  EXPECT_EQ(std::signal(SIGPIPE, SIG_IGN), SIG_IGN);
  pair.reset_far();
  for (const bool again : {false, true}) {
    send(sent.descriptor(), 0, large_bytes);
    context.run();
    EXPECT_TRUE(result->ec == asio::error::broken_pipe || (!again && result->ec == asio::error::connection_reset))
        << result->ec;
    context.restart();
  }
  net::detail::sigpipe_is_ignored = false;  // other tests count on what there is without it
}

TEST_P(send_file_test, IsCancelledWhileItWaits) {
  const memory_file sent(pattern(large_bytes));
  asio::cancellation_signal signal;
  send(pool, sent.descriptor(), 0, large_bytes, asio::bind_cancellation_slot(signal.slot(), store()));
  context.poll();
  signal.emit(asio::cancellation_type::total);
  context.poll();
  EXPECT_FALSE(result) << "bytes have gone";
  signal.emit(asio::cancellation_type::partial);
  context.run();
  EXPECT_EQ(result->ec, asio::error::operation_aborted);
  EXPECT_GT(result->bytes, 0U);
  EXPECT_LT(result->bytes, large_bytes);
}

TEST_P(send_file_test, IsEndedByClosing) {
  const memory_file sent(pattern(large_bytes));
  send(sent.descriptor(), 0, large_bytes);
  context.poll();
  pair.near.close();
  context.run();
  EXPECT_TRUE(result->ec == asio::error::operation_aborted || result->ec == asio::error::bad_descriptor) << result->ec;
}

TEST_P(send_file_test, DiesWithItsContext) {
  const memory_file sent(pattern(large_bytes));
  {
    asio::io_context own;
    loopback_pair mine(own);
    other_stream around{mine.near};
    const auto never = [](asio::error_code, std::size_t) { FAIL(); };
    if (GetParam()) {
      net::async_send_file(mine.near, pool, sent.descriptor(), 0, large_bytes, net::bind_pool(pool, never));
    } else {
      net::async_send_file(around, pool, sent.descriptor(), 0, large_bytes, net::bind_pool(pool, never));
    }
    own.poll();
    EXPECT_GE(pool.stats().in_use, GetParam() ? loopback_pair::blocks_per_wait : 1U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_P(send_file_test, CompletesAFuture) {
  const std::string content = pattern(5000);
  const memory_file sent(content);
  auto future = GetParam() ? net::async_send_file(pair.near, pool, sent.descriptor(), 0, 5000, asio::use_future)
                           : net::send_file(other, pool, sent.descriptor(), 0, 5000, asio::use_future);
  context.run();
  EXPECT_EQ(future.get(), 5000U);
  EXPECT_EQ(received(5000), content);
}

// Files of which the kernel has no pages to send, EINVAL says; /proc has some in every system.
// By the thread: Valgrind gives a process a file of its own for the one in /proc/self.
TEST_P(send_file_test, SendsWhatTheSystemCannot) {
  const int vector = ::open("/proc/thread-self/auxv", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(vector, 0);
  asio::error_code ec;
  ASSERT_EQ(net::detail::send_file_now(pair.near.native_handle(), vector, 0, 1, ec), 0U);
  ASSERT_EQ(ec.value(), EINVAL);
  std::string content(160, '\0');
  ASSERT_EQ(::pread(vector, content.data(), content.size(), 0), 160);
  send(vector, 16, 144);
  context.run();
  ::close(vector);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec) << result->ec.message();
  EXPECT_EQ(received(144), content.substr(16));
}

TEST(send_file_budget_test, WaitsForItsTurnHoldingNothing) {
  pool_options options;
  options.size_classes = {4096};
  options.budget_bytes_max = 4096;
  local_pool pool(options);
  asio::io_context context;
  loopback_pair pair(context);
  other_stream other{pair.near};
  const std::string content = pattern(20'000);
  const memory_file sent(content);
  buffer held = pool.acquire(4096);
  std::optional<outcome> result;
  net::async_send_file(other, pool, sent.descriptor(), 0, content.size(), [&](asio::error_code ec, std::size_t bytes) {
    result.emplace(outcome{ec, bytes});
  });
  context.poll();
  EXPECT_FALSE(result);
  EXPECT_TRUE(pool.has_waiters());
  held.release();
  context.restart();
  context.run();
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->bytes, content.size());
  std::string all(content.size(), '\0');
  asio::read(pair.far, asio::buffer(all));
  EXPECT_EQ(all, content);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(send_file_some_test, SendsWhatTheSocketTakesAndWaitsForNothing) {
  asio::io_context context;
  loopback_pair pair(context);
  pair.near.native_non_blocking(true);
  const std::string content = pattern(large_bytes);
  const memory_file sent(content);
  asio::error_code ec = asio::error::eof;
  EXPECT_EQ(net::send_file_some(pair.near, sent.descriptor(), 0, 0, ec), 0U);
  EXPECT_EQ(ec, asio::error_code());
  std::size_t taken = 0;
  while (const std::size_t bytes =
             net::send_file_some(pair.near, sent.descriptor(), taken, content.size() - taken, ec)) {
    EXPECT_EQ(ec, asio::error_code());
    taken += bytes;
    ASSERT_LT(taken, content.size()) << "nobody reads";
  }
  EXPECT_EQ(ec, asio::error::would_block);
  std::string received(taken, '\0');
  asio::read(pair.far, asio::buffer(received));
  EXPECT_EQ(received == content.substr(0, taken), true);
  EXPECT_EQ(net::send_file_some(pair.near, sent.descriptor(), content.size(), 1, ec), 0U);
  EXPECT_EQ(ec, asio::error::eof);
  EXPECT_EQ(net::send_file_some(pair.near, -1, 0, 1, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
}

}  // namespace
}  // namespace slabbuf
