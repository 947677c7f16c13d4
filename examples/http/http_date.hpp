// SPDX-License-Identifier: MIT
// Dates as HTTP writes them (RFC 9110, 5.6.7).
// Threads: any.
#pragma once

#include <array>
#include <ctime>
#include <optional>
#include <string_view>

namespace slabbuf::examples {

/// "Sun, 06 Nov 1994 08:49:37 GMT": always 29 letters. The time as utc_of() has it.
using http_date = std::array<char, 29>;

/// The day and the time of day, in the years 0 to 9999; another time becomes the first or the last of them.
std::tm utc_of(std::time_t time) noexcept;

http_date format_http_date(std::time_t time) noexcept;

inline std::string_view text_of(const http_date& date) noexcept { return {date.data(), date.size()}; }

/// Any of the three formats that recipients must accept; nothing for whatever else.
std::optional<std::time_t> parse_http_date(std::string_view text) noexcept;

}  // namespace slabbuf::examples
