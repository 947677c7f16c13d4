// SPDX-License-Identifier: MIT
// The head of an answer as bytes: status line, Date, the fields of the answer, Content-Length, Connection.
// Threads: any; a clock belongs to one.
#pragma once

#include "http/http_date.hpp"
#include "http/http_response.hpp"

#include <cstddef>
#include <ctime>
#include <span>
#include <string_view>

namespace slabbuf::examples {

/// What time it is, as text that is made once a second.
class http_clock {
 public:
  std::string_view now() noexcept {
    const std::time_t time = std::time(nullptr);
    if (time != time_) {
      time_ = time;
      text_ = format_http_date(time);
    }
    return text_of(text_);
  }

 private:
  std::time_t time_ = -1;
  http_date text_ = format_http_date(0);
};

/// A whole answer, for where there is no memory to make one in.
inline constexpr std::string_view unavailable_answer =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// At least as many bytes as write_head() writes.
std::size_t head_bytes(const http_response& answer) noexcept;

struct head_extras {
  std::string_view date;
  bool closes;      // this is the last answer
  bool says_alive;  // which a client of HTTP/1.0 has to be told
};

/// Writes the head, and the blank line. Returns how many bytes that is.
std::size_t write_head(std::span<std::byte> to, const http_response& answer, const head_extras& extras) noexcept;

}  // namespace slabbuf::examples
