// SPDX-License-Identifier: MIT
#include "http/http_date.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string_view>

namespace slabbuf::examples {
namespace {

using namespace std::literals;

constexpr std::array days{"Sun"sv, "Mon"sv, "Tue"sv, "Wed"sv, "Thu"sv, "Fri"sv, "Sat"sv};
constexpr std::array months{"Jan"sv, "Feb"sv, "Mar"sv, "Apr"sv, "May"sv, "Jun"sv,
                            "Jul"sv, "Aug"sv, "Sep"sv, "Oct"sv, "Nov"sv, "Dec"sv};

void put_digits(char* to, int value, int digits) noexcept {
  for (char* each = to + digits; each != to; value /= 10) *--each = static_cast<char>('0' + value % 10);
}

// Reads one format after the other off the front of a text.
class date_reader {
 public:
  explicit date_reader(std::string_view text) noexcept : text_(text) {}

  bool literal(std::string_view expected) noexcept {
    if (text_.substr(0, expected.size()) != expected) return good_ = false;
    text_.remove_prefix(expected.size());
    return good_;
  }
  int number(std::size_t digits) noexcept {
    int value = 0;
    if (text_.size() < digits) return fail();
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + digits, value);
    if (error != std::errc() || end != text_.data() + digits || value < 0) return fail();
    text_.remove_prefix(digits);
    return value;
  }
  // asctime() puts a blank before a single digit.
  int padded_number() noexcept {
    if (!text_.empty() && text_.front() == ' ') {
      text_.remove_prefix(1);
      return number(1);
    }
    return number(2);
  }
  template <std::size_t n>
  int name(const std::array<std::string_view, n>& names) noexcept {
    for (std::size_t index = 0; index < n; ++index) {
      if (text_.substr(0, names[index].size()) != names[index]) continue;
      text_.remove_prefix(names[index].size());
      return static_cast<int>(index);
    }
    return fail();
  }
  void time(std::tm& into) noexcept {
    into.tm_hour = number(2);
    literal(":");
    into.tm_min = number(2);
    literal(":");
    into.tm_sec = number(2);
  }
  void skip(std::size_t count) noexcept { text_.remove_prefix(std::min(count, text_.size())); }
  bool done() const noexcept { return good_ && text_.empty(); }

 private:
  int fail() noexcept {
    good_ = false;
    return 0;
  }

  std::string_view text_;
  bool good_ = true;
};

std::optional<std::time_t> checked(std::tm when) noexcept {
  const std::tm asked = when;
  const std::time_t time = ::timegm(&when);
  // What timegm() had to put right was no date; the 60th second is one.
  const bool leap_second = asked.tm_sec == 60;
  if (when.tm_mon != asked.tm_mon || when.tm_mday != asked.tm_mday) {
    if (!leap_second) return std::nullopt;
  }
  if (asked.tm_hour > 23 || asked.tm_min > 59 || asked.tm_sec > 60) return std::nullopt;
  return time;
}

}  // namespace

std::tm utc_of(std::time_t time) noexcept {
  constexpr std::time_t first = -62'167'219'200;  // of the year 0
  constexpr std::time_t last = 253'402'300'799;   // of 9999
  time = std::clamp(time, first, last);
  std::tm when{};
  ::gmtime_r(&time, &when);
  return when;
}

http_date format_http_date(std::time_t time) noexcept {
  const std::tm when = utc_of(time);
  http_date text{'D', 'a', 'y', ',', ' ', '0', '0', ' ', 'M', 'o', 'n', ' ', '0', '0', '0',
                 '0', ' ', '0', '0', ':', '0', '0', ':', '0', '0', ' ', 'G', 'M', 'T'};
  days[static_cast<std::size_t>(when.tm_wday)].copy(text.data(), 3);
  put_digits(text.data() + 5, when.tm_mday, 2);
  months[static_cast<std::size_t>(when.tm_mon)].copy(text.data() + 8, 3);
  put_digits(text.data() + 12, when.tm_year + 1900, 4);
  put_digits(text.data() + 17, when.tm_hour, 2);
  put_digits(text.data() + 20, when.tm_min, 2);
  put_digits(text.data() + 23, when.tm_sec, 2);
  return text;
}

std::optional<std::time_t> parse_http_date(std::string_view text) noexcept {
  std::tm when{};
  date_reader reader(text);
  const std::size_t comma = text.find(',');
  if (comma == 3) {  // Sun, 06 Nov 1994 08:49:37 GMT
    reader.name(days);
    reader.literal(", ");
    when.tm_mday = reader.number(2);
    reader.literal(" ");
    when.tm_mon = reader.name(months);
    reader.literal(" ");
    when.tm_year = reader.number(4) - 1900;
    reader.literal(" ");
    reader.time(when);
    reader.literal(" GMT");
  } else if (comma != std::string_view::npos) {  // Sunday, 06-Nov-94 08:49:37 GMT
    reader.name(days);
    reader.skip(comma - 3);
    reader.literal(", ");
    when.tm_mday = reader.number(2);
    reader.literal("-");
    when.tm_mon = reader.name(months);
    reader.literal("-");
    // Two digits that would be more than 50 years ahead are of the century before.
    const int year = reader.number(2);
    std::tm today{};
    const std::time_t now = std::time(nullptr);
    ::gmtime_r(&now, &today);
    when.tm_year = today.tm_year / 100 * 100 + year;
    if (when.tm_year > today.tm_year + 50) when.tm_year -= 100;
    reader.literal(" ");
    reader.time(when);
    reader.literal(" GMT");
  } else {  // Sun Nov  6 08:49:37 1994
    reader.name(days);
    reader.literal(" ");
    when.tm_mon = reader.name(months);
    reader.literal(" ");
    when.tm_mday = reader.padded_number();
    reader.literal(" ");
    reader.time(when);
    reader.literal(" ");
    when.tm_year = reader.number(4) - 1900;
  }
  return reader.done() ? checked(when) : std::nullopt;
}

}  // namespace slabbuf::examples
