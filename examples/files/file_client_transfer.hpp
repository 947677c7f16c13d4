// SPDX-License-Identifier: MIT
// What a download and an upload have in common: how it ended, when to try again, where to go next, the tick of the
// display.
// Threads: the one that runs the io_context.
// Lifetime: until its end is told.
#pragma once

#include "files/file_client_connection.hpp"
#include "files/file_client_progress.hpp"
#include "http/url.hpp"

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace slabbuf::examples {

/// Exit statuses beside those of every program.
inline constexpr int exit_unreachable = 3;    // no connection, or it broke too often
inline constexpr int exit_refused = 4;        // the server said no, or what it said cannot be used
inline constexpr int exit_untrusted = 5;      // certificate, TLS
inline constexpr int exit_corrupt = 6;        // the digest is another one
inline constexpr int exit_interrupted = 130;  // SIGINT, SIGTERM

/// Of a file, hashed between two looks at the signals.
inline constexpr std::size_t hash_step_bytes = 8 << 20;

struct transfer_end {
  int exit_status = 0;
  std::string message;  // for people, also of success
};

using steady_timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                                asio::io_context::executor_type>;

/// When to try again: after attempts that moved something at once, after others later and later, and so often.
class retry_policy {
 public:
  explicit retry_policy(std::size_t attempts_max) noexcept : attempts_max_(attempts_max) {}

  void progressed() noexcept { attempts_ = 0; }
  /// How long to wait before the next attempt; nothing when there have been enough.
  std::optional<std::chrono::milliseconds> next() noexcept;

 private:
  std::size_t attempts_max_;
  std::size_t attempts_ = 0;
};

/// Answers that may be others the next time: 408, 429, 500, 502, 503, 504.
bool is_worth_a_retry(int status) noexcept;

/// "404 Not Found".
std::string describe(const response_head& head);

/// Where a redirect goes. Throws std::invalid_argument when it may not be followed: no Location, none that is a URL, or
/// one that leaves TLS.
http_url redirect_target(const http_url& from, const response_head& head);

class transfer {
 public:
  using end_handler = std::function<void(const transfer_end&)>;

  transfer(client_setup& setup, http_url url, progress_display& display, end_handler on_end);
  transfer(const transfer&) = delete;
  transfer& operator=(const transfer&) = delete;
  virtual ~transfer() = default;

  virtual void start() = 0;
  /// Keeps what can be gone on with, and ends.
  void interrupt() { end({exit_interrupted, "interrupted"}); }

 protected:
  /// Closes everything; what is said of it is added to the message.
  virtual std::string stop(const transfer_end& how) = 0;
  /// A few times a second.
  virtual void on_tick() = 0;

  void start_ticking();
  void end(transfer_end how);
  bool ended() const noexcept { return ended_; }
  /// Ends it, as the exception says.
  void end_with_current_exception() noexcept;
  /// Whether `head` may be followed; if not, it has ended.
  bool follow(const response_head& head);

  client_setup& setup_;
  const std::string asked_for_;  // the URL of the command line
  http_url url_;                 // where redirects have led
  progress_display& display_;

 private:
  void tick();

  end_handler on_end_;
  steady_timer ticker_;
  std::size_t redirects_ = 0;
  bool ended_ = false;
};

}  // namespace slabbuf::examples
