// SPDX-License-Identifier: MIT
// How far a transfer is: a line that changes, with a bar, on a terminal; now and then a line elsewhere.
// Threads: one at a time.
// Lifetime: a terminal's line ends when it dies, so that what is printed next has one of its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace slabbuf::examples {

struct transfer_progress {
  std::string name;
  std::uint64_t done_bytes = 0;
  std::optional<std::uint64_t> total_bytes;  // where it is known
  double bytes_per_second = 0;
};

/// "name  [=====>     ]  42 %  21.0 MiB of 50.0 MiB  10.2 MiB/s  3 s left" in at most `width` columns: the name is cut
/// first, then the bar left out.
std::string progress_bar(const transfer_progress& now, std::size_t width);

/// "name: 21.0 MiB of 50.0 MiB (42 %), 10.2 MiB/s, 3 s left".
std::string progress_line(const transfer_progress& now);

/// `text` without what would move a terminal's cursor, change its colours, turn its direction or do worse, and without
/// what is no UTF-8.
std::string printable(const std::string& text);

/// "3 s", "2 min 05 s", "1 h 02 min".
std::string format_duration(std::chrono::seconds time);

/// Bytes a second, lately: what counts less the longer ago it was.
class transfer_rate {
 public:
  using clock = std::chrono::steady_clock;

  /// `done_bytes` in all by `now`.
  void note(std::uint64_t done_bytes, clock::time_point now);
  double bytes_per_second() const noexcept { return rate_; }

 private:
  std::uint64_t done_bytes_ = 0;
  clock::time_point at_{};
  double rate_ = 0;
  bool started_ = false;
};

class progress_display {
 public:
  using clock = transfer_rate::clock;
  enum class style { none, terminal, lines };

  /// To standard error: on a terminal a bar, else lines.
  static style style_of_standard_error() noexcept;

  progress_display(const std::string& name, style how) : how_(how) { shown_.name = printable(name); }
  progress_display(const progress_display&) = delete;
  progress_display& operator=(const progress_display&) = delete;
  ~progress_display() { end_line(); }

  /// To be called a few times a second.
  void show(std::uint64_t done_bytes, std::optional<std::uint64_t> total_bytes);
  /// Says something else, on a line of its own.
  void say(const std::string& text);
  /// Whatever is printed next has a line of its own.
  void end_line() noexcept;

 private:
  const style how_;
  transfer_progress shown_;
  transfer_rate rate_;
  clock::time_point line_printed_at_ = clock::now();
  bool on_line_ = false;  // the cursor is behind a bar
};

}  // namespace slabbuf::examples
