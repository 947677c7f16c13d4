// SPDX-License-Identifier: MIT
// One system call on a file: what it says, and that the SIGPIPE of sendfile(2) stays where it was.
#include <slabbuf/net/detail/native_file.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "support/loopback_pair.hpp"
#include "support/memory_file.hpp"

namespace slabbuf::net::detail {
namespace {

using support::memory_file;

// More than both sockets' kernel buffers take.
constexpr std::size_t large_bytes = std::size_t{32} << 20;

class NativeFile : public ::testing::Test {
 protected:
  // As Asio's first wait leaves a socket.
  void SetUp() override { pair.near.native_non_blocking(true); }

  std::size_t send(int file, std::uint64_t offset, std::size_t count) {
    return send_file_now(pair.near.native_handle(), file, offset, count, ec);
  }
  std::string received(std::size_t count) {
    std::string all(count, '?');
    asio::read(pair.far, asio::buffer(all));
    return all;
  }
  std::string_view read(int file, std::uint64_t offset) {
    const std::size_t count = read_file_now(file, offset, space, ec);
    return {reinterpret_cast<const char*>(space.data()), count};
  }

  asio::io_context context;
  support::loopback_pair pair{context};
  std::array<std::byte, 8> space{};
  asio::error_code ec;
};

TEST_F(NativeFile, SendsTheBytesAskedForAndLeavesThePositionAlone) {
  const memory_file file("0123456789");
  ASSERT_EQ(::lseek(file.descriptor(), 7, SEEK_SET), 7);
  ec = asio::error::eof;
  EXPECT_EQ(send(file.descriptor(), 2, 3), 3U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(received(3), "234");
  EXPECT_EQ(::lseek(file.descriptor(), 0, SEEK_CUR), 7);
}

TEST_F(NativeFile, SendTakesWhatThereIsRoomForAndThenSaysSo) {
  const memory_file file(std::string(large_bytes, 'x'));
  std::size_t sent = 0;
  while (!ec) {
    const std::size_t count = send(file.descriptor(), sent, large_bytes - sent);
    EXPECT_EQ(count == 0, static_cast<bool>(ec));
    sent += count;
    ASSERT_LT(sent, large_bytes);
  }
  EXPECT_EQ(ec, asio::error::would_block);
  EXPECT_EQ(received(sent), std::string(sent, 'x'));
}

TEST_F(NativeFile, SendTellsBytesFromTheEnd) {
  const memory_file file("012345");
  ec = asio::error::eof;
  EXPECT_EQ(send(file.descriptor(), 4, 100), 2U);
  EXPECT_FALSE(ec);
  EXPECT_EQ(received(2), "45");
  for (const std::uint64_t offset : {6U, 100U}) {
    ec.clear();
    EXPECT_EQ(send(file.descriptor(), offset, 100), 0U);
    EXPECT_EQ(ec, asio::error::eof) << offset;
  }
}

TEST_F(NativeFile, ErrorsOfTheSystemArriveWhenItSends) {
  const memory_file file("012345");
  EXPECT_EQ(send(-1, 0, 1), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  ec.clear();
  EXPECT_EQ(send_file_now(-1, file.descriptor(), 0, 1, ec), 0U);
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  EXPECT_EQ(send(file.descriptor(), UINT64_MAX, 1), 0U);
  EXPECT_EQ(ec, asio::error::invalid_argument);
  // Nor can it send what the kernel has no pages of; by the thread, because Valgrind has a file of its own for the one
  // in /proc/self.
  ec.clear();
  const int vector = ::open("/proc/thread-self/auxv", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(vector, 0);
  EXPECT_EQ(send(vector, 0, 1), 0U);
  EXPECT_EQ(ec, asio::error::invalid_argument);
  ::close(vector);
}

TEST_F(NativeFile, ReadsWhatThereIsRoomForAndLeavesThePositionAlone) {
  const memory_file file("0123456789abcdef");
  ASSERT_EQ(::lseek(file.descriptor(), 7, SEEK_SET), 7);
  ec = asio::error::eof;
  EXPECT_EQ(read(file.descriptor(), 2), "23456789");
  EXPECT_FALSE(ec);
  EXPECT_EQ(::lseek(file.descriptor(), 0, SEEK_CUR), 7);
}

TEST_F(NativeFile, ReadTellsBytesFromTheEnd) {
  const memory_file file("012345");
  ec = asio::error::eof;
  EXPECT_EQ(read(file.descriptor(), 4), "45");
  EXPECT_FALSE(ec);
  for (const std::uint64_t offset : {6U, 100U}) {
    ec.clear();
    EXPECT_EQ(read(file.descriptor(), offset), "");
    EXPECT_EQ(ec, asio::error::eof) << offset;
  }
}

TEST_F(NativeFile, ErrorsOfTheSystemArriveWhenItReads) {
  EXPECT_EQ(read(-1, 0), "");
  EXPECT_EQ(ec, asio::error::bad_descriptor);
  const memory_file file("012345");
  EXPECT_EQ(read(file.descriptor(), UINT64_MAX), "");
  EXPECT_EQ(ec, asio::error::invalid_argument);
}

// SIGPIPE of this thread and its handling, as they were before when the test is over. Whatever reaches the program is
// counted.
class NativeFileSignal : public NativeFile {
 protected:
  NativeFileSignal() {
    delivered = 0;
    struct ::sigaction counting {};
    counting.sa_handler = [](int) { delivered = delivered + 1; };
    ::sigaction(SIGPIPE, &counting, &action_before_);
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_UNBLOCK, &pipe_, &mask_before_);
  }
  ~NativeFileSignal() override {
    if (is_pending()) take();
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    ::sigaction(SIGPIPE, &action_before_, nullptr);
  }

  void block() const { ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &pipe_, nullptr), 0); }
  void take() const {
    int number = 0;
    EXPECT_EQ(::sigwait(&pipe_, &number), 0);
  }
  static void raise_it() { ASSERT_EQ(::pthread_kill(::pthread_self(), SIGPIPE), 0); }
  static bool is_blocked() {
    ::sigset_t mask;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    return ::sigismember(&mask, SIGPIPE) == 1;
  }
  static bool is_pending() {
    ::sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGPIPE) == 1;
  }
  void send_to_nobody() {
    pair.near.shutdown(asio::socket_base::shutdown_send);
    const memory_file file("012345");
    EXPECT_EQ(send(file.descriptor(), 0, 6), 0U);
    EXPECT_EQ(ec, asio::error::broken_pipe);
  }

  inline static volatile std::sig_atomic_t delivered = 0;

 private:
  ::sigset_t pipe_{};
  ::sigset_t mask_before_{};
  struct ::sigaction action_before_ {};
};

TEST_F(NativeFileSignal, APeerThatHasGoneIsAnErrorAndNoSignal) {
  send_to_nobody();
  EXPECT_EQ(delivered, 0);
  EXPECT_FALSE(is_blocked());
  EXPECT_FALSE(is_pending());
}

// A program that has SIGPIPE blocked finds it pending if it was before, and only then.
TEST_F(NativeFileSignal, LeavesABlockedSignalAsItWas) {
  block();
  for (const bool was_pending : {false, true}) {
    if (was_pending) raise_it();
    send_to_nobody();
    EXPECT_EQ(is_pending(), was_pending);
    EXPECT_TRUE(is_blocked());
  }
  EXPECT_EQ(delivered, 0);
}

// In the midst of a call, which then says how much it did, while the signal comes all the same.
TEST_F(NativeFileSignal, AnEndThatComesMeanwhileIsNoSignal) {
  const memory_file file(std::string(large_bytes, 'x'));
  pair.near.native_non_blocking(false);  // the call has begun well and waits for room when it is met by the end
  std::thread end([this, socket = pair.near.native_handle()] {
    received(1);
    ::shutdown(socket, SHUT_WR);
  });
  const std::size_t sent = send(file.descriptor(), 0, large_bytes);
  end.join();
  EXPECT_FALSE(ec);
  EXPECT_GT(sent, 0U);
  EXPECT_LT(sent, large_bytes);
  EXPECT_EQ(delivered, 0);
  EXPECT_FALSE(is_pending());
}

TEST_F(NativeFileSignal, ABlockerTakesWhatIsExpected) {
  {
    sigpipe_blocker no_signal;
    EXPECT_TRUE(is_blocked());
    raise_it();
    EXPECT_TRUE(is_pending());
    no_signal.expect();
  }
  EXPECT_FALSE(is_pending());
  EXPECT_FALSE(is_blocked());
  EXPECT_EQ(delivered, 0);
}

TEST_F(NativeFileSignal, ABlockerTakesNothingThatIsNotExpected) {
  {
    const sigpipe_blocker no_signal;
    raise_it();
    EXPECT_EQ(delivered, 0);
  }
  EXPECT_EQ(delivered, 1) << "it was somebody else's";
  block();
  {
    const sigpipe_blocker no_signal;
    raise_it();
  }
  EXPECT_TRUE(is_pending());
  EXPECT_TRUE(is_blocked());
}

TEST_F(NativeFileSignal, ABlockerLeavesWhatWasPending) {
  block();
  raise_it();
  {
    sigpipe_blocker no_signal;
    no_signal.expect();
  }
  EXPECT_TRUE(is_pending());
  EXPECT_EQ(delivered, 0);
}

// Nothing is kept from a program that says it ignores the signal: one that lied would get it.
TEST_F(NativeFileSignal, IsLeftToAProgramThatIgnoresIt) {
  sigpipe_is_ignored = true;
  send_to_nobody();
  EXPECT_EQ(delivered, 1);
  ::signal(SIGPIPE, SIG_IGN);
  send_to_nobody();
  EXPECT_EQ(delivered, 1);
  EXPECT_FALSE(is_blocked());
  sigpipe_is_ignored = false;
}

// What is expected need not come: nobody waits for it, and the error of the call that was guarded stays.
TEST_F(NativeFileSignal, ABlockerKeepsErrno) {
  for (const bool is_expected : {false, true}) {
    errno = ENXIO;
    {
      sigpipe_blocker no_signal;
      if (is_expected) no_signal.expect();
    }
    EXPECT_EQ(errno, ENXIO);
  }
}

}  // namespace
}  // namespace slabbuf::net::detail
