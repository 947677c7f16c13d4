// SPDX-License-Identifier: MIT
#include "files/file_client_progress.hpp"

#include "common/command_line.hpp"
#include "common/utf8.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t name_width_max = 24;
constexpr std::size_t bar_width_min = 10;
constexpr std::size_t bar_width_max = 40;
constexpr std::size_t width_default = 80;

// Between two lines where there is no terminal.
constexpr auto line_period = 10s;

// What was measured so long ago counts a third of what is measured now.
constexpr double rate_memory_s = 3;

double fraction(const transfer_progress& now) {
  if (!now.total_bytes || *now.total_bytes == 0) return 0;
  return std::min(1.0, static_cast<double>(now.done_bytes) / static_cast<double>(*now.total_bytes));
}

std::string amounts(const transfer_progress& now) {
  const std::string done = format_size(now.done_bytes);
  return now.total_bytes ? fmt::format("{} of {}", done, format_size(*now.total_bytes)) : done;
}

std::string rate(const transfer_progress& now) {
  return format_size(static_cast<std::size_t>(now.bytes_per_second)) + "/s";
}

// Nothing when it cannot be told.
std::optional<std::chrono::seconds> time_left(const transfer_progress& now) {
  if (!now.total_bytes || now.bytes_per_second < 1 || now.done_bytes >= *now.total_bytes) return std::nullopt;
  const double seconds = std::ceil(static_cast<double>(*now.total_bytes - now.done_bytes) / now.bytes_per_second);
  if (seconds > 360'000) return std::nullopt;  // nobody knows what is in a hundred hours
  return std::chrono::seconds(static_cast<std::int64_t>(seconds));
}

// Cut to a width, between characters of UTF-8, each taken for one column.
std::string shortened(const std::string& text, std::size_t width) {
  std::size_t columns = 0;
  std::size_t end = 0;
  std::size_t cut = 0;
  while (end < text.size()) {
    if (columns + 1 == width) cut = end;
    ++columns;
    do {
      ++end;
    } while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80);
  }
  if (columns <= width) return text + std::string(width - columns, ' ');
  return text.substr(0, cut) + "\u2026";
}

// C0 and C1 move the cursor and more; the marks of direction let a text read as another one.
bool commands_terminal(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

std::size_t terminal_width() {
  ::winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col : width_default;
}

}  // namespace

std::string printable(const std::string& text) {
  std::string shown;
  for (std::string_view rest = text; !rest.empty();) {
    const utf8_character next = first_character(rest);
    next.size != 0 && !commands_terminal(next.code) ? shown.append(rest.substr(0, next.size)) : shown.append(1, '?');
    rest.remove_prefix(std::max<std::size_t>(next.size, 1));
  }
  return shown;
}

std::string format_duration(std::chrono::seconds time) {
  const auto seconds = time.count();
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
}

std::string progress_bar(const transfer_progress& now, std::size_t width) {
  // Columns that do not jump: amounts grow, a rate varies.
  std::string text = fmt::format("{:>23}  {:>12}", amounts(now), rate(now));
  if (now.total_bytes) text = fmt::format("{:3.0f} %  {}", std::floor(fraction(now) * 100), text);
  if (const auto left = time_left(now)) text += fmt::format("  {} left", format_duration(*left));
  if (text.size() + 4 > width) return text.substr(0, width);
  std::size_t room = width - text.size() - 2;
  // The part that says "left" comes and goes: the bar does not change its width for that.
  const std::size_t bar_room = now.total_bytes && width >= width_default - 10 ? bar_width_min + 4 : 0;
  if (room <= bar_room) return text;
  const std::size_t name_width = std::min(name_width_max, room - bar_room);
  std::string line = shortened(now.name, name_width) + "  ";
  room -= name_width;
  if (bar_room != 0) {
    const std::size_t bar_width = std::clamp(room - 4, bar_width_min, bar_width_max);
    const auto full = static_cast<std::size_t>(fraction(now) * static_cast<double>(bar_width));
    std::string bar(full, '=');
    if (full < bar_width) bar += '>';
    bar.resize(bar_width, ' ');
    line += fmt::format("[{}]  ", bar);
  }
  return line + text;
}

std::string progress_line(const transfer_progress& now) {
  std::string text = fmt::format("{}: {}", now.name, amounts(now));
  if (now.total_bytes) text += fmt::format(" ({:.0f} %)", std::floor(fraction(now) * 100));
  text += ", " + rate(now);
  if (const auto left = time_left(now)) text += fmt::format(", {} left", format_duration(*left));
  return text;
}

void transfer_rate::note(std::uint64_t done_bytes, clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - at_).count();
  if (started_ && seconds <= 0) return;
  // Fewer than before: it started over.
  if (started_ && done_bytes >= done_bytes_) {
    const double measured = static_cast<double>(done_bytes - done_bytes_) / seconds;
    const double kept = rate_ == 0 ? 0 : std::exp(-seconds / rate_memory_s);
    rate_ = kept * rate_ + (1 - kept) * measured;
  }
  started_ = true;
  done_bytes_ = done_bytes;
  at_ = now;
}

progress_display::style progress_display::style_of_standard_error() noexcept {
  return ::isatty(STDERR_FILENO) == 1 ? style::terminal : style::lines;
}

void progress_display::show(std::uint64_t done_bytes, std::optional<std::uint64_t> total_bytes) {
  const clock::time_point now = clock::now();
  rate_.note(done_bytes, now);
  shown_.done_bytes = done_bytes;
  shown_.total_bytes = total_bytes;
  shown_.bytes_per_second = rate_.bytes_per_second();
  if (how_ == style::terminal) {
    // To the column before the last: a character in the last one may move the cursor to the next line.
    fmt::print(stderr, "\r\x1b[K{}", progress_bar(shown_, terminal_width() - 1));
    std::fflush(stderr);
    on_line_ = true;
  } else if (how_ == style::lines && now - line_printed_at_ >= line_period) {
    line_printed_at_ = now;
    fmt::print(stderr, "{}\n", progress_line(shown_));
  }
}

void progress_display::say(const std::string& text) {
  if (how_ == style::none) return;
  end_line();
  fmt::print(stderr, "{}: {}\n", shown_.name, printable(text));
}

void progress_display::end_line() noexcept {
  if (std::exchange(on_line_, false)) std::fputs("\n", stderr);
}

}  // namespace slabbuf::examples
