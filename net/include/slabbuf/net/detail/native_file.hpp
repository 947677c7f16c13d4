// SPDX-License-Identifier: MIT
// One system call that moves bytes of a file, now: what async_send_file() does between two waits.
// Threads: as the socket; SIGPIPE is blocked in the calling thread meanwhile, unless the program ignores it.
// Lifetime: nothing is kept but that (ignore_sigpipe()).
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <unistd.h>
#include <asio/error.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <span>

namespace slabbuf::net::detail {

/// Whether the program has said that it ignores SIGPIPE. Asking the system for it each time would cost as much as half
/// of what it saves. Relaxed: whoever says so does it before there are connections.
inline std::atomic<bool> sigpipe_is_ignored{false};

/// Keeps the SIGPIPE of a peer that has gone from the program: sendfile(2) has no MSG_NOSIGNAL. One that was pending
/// before stays so.
class sigpipe_blocker {
 public:
  sigpipe_blocker() noexcept {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    // Only what was blocked can have been pending.
    blocked_before_ = ::sigismember(&before_, SIGPIPE) == 1;
    if (!blocked_before_) return;
    ::sigset_t pending;
    ::sigpending(&pending);
    pending_before_ = ::sigismember(&pending, SIGPIPE) == 1;
  }
  sigpipe_blocker(const sigpipe_blocker&) = delete;
  sigpipe_blocker& operator=(const sigpipe_blocker&) = delete;
  ~sigpipe_blocker() {
    const int code = errno;
    if (expected_ && !pending_before_) {
      const ::timespec at_once{};
      while (::sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    if (!blocked_before_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = code;
  }

  /// A call has not done all it was told to do: where the peer went in its midst, it says how much it did, not EPIPE,
  /// and the signal has come all the same.
  void expect() noexcept { expected_ = true; }

 private:
  ::sigset_t pipe_;
  ::sigset_t before_;
  bool blocked_before_ = false;
  bool pending_before_ = false;
  bool expected_ = false;
};

/// Sends what the socket takes of `count` bytes of the file from `offset` on, without waiting for the socket; for the
/// disk it waits. Returns the bytes taken; 0 and in `ec` would_block when it takes none, eof when the file has no more,
/// else the system's error.
inline std::size_t send_file_now(int socket, int file, std::uint64_t offset, std::size_t count,
                                 asio::error_code& ec) noexcept {
  std::optional<sigpipe_blocker> no_signal;
  if (!sigpipe_is_ignored.load(std::memory_order_relaxed)) no_signal.emplace();
  auto position = static_cast<::off_t>(offset);
  for (;;) {
    const ::ssize_t sent = ::sendfile(socket, file, &position, count);
    if (no_signal && (sent < 0 ? errno == EPIPE : static_cast<std::size_t>(sent) < count)) no_signal->expect();
    if (sent > 0) {
      ec.clear();
      return static_cast<std::size_t>(sent);
    }
    if (sent == 0) {
      ec = asio::error::eof;
      return 0;
    }
    if (errno == EINTR) continue;
    ec.assign(errno == EAGAIN ? EWOULDBLOCK : errno, asio::error::get_system_category());
    return 0;
  }
}

/// Reads what the file has from `offset` on, at most as much as there is room for; waits for the disk. Bytes read, or 0
/// and in `ec` eof or the system's error.
inline std::size_t read_file_now(int file, std::uint64_t offset, std::span<std::byte> into,
                                 asio::error_code& ec) noexcept {
  for (;;) {
    const ::ssize_t got = ::pread(file, into.data(), into.size(), static_cast<::off_t>(offset));
    if (got > 0) {
      ec.clear();
      return static_cast<std::size_t>(got);
    }
    if (got == 0) {
      ec = asio::error::eof;
      return 0;
    }
    if (errno == EINTR) continue;
    ec.assign(errno, asio::error::get_system_category());
    return 0;
  }
}

}  // namespace slabbuf::net::detail
