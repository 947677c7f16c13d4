// SPDX-License-Identifier: MIT
#include "http/http_head.hpp"

#include <charconv>
#include <cstring>

namespace slabbuf::examples {
namespace {

// Status line, Date, Content-Length, Connection and the blank line, each at its longest.
constexpr std::size_t own_bytes_max = 192;

class writer {
 public:
  explicit writer(std::span<std::byte> to) noexcept
      : begin_(reinterpret_cast<char*>(to.data())), at_(begin_), end_(begin_ + to.size()) {}

  writer& operator<<(std::string_view text) noexcept {
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
    return *this;
  }
  writer& operator<<(std::uint64_t number) noexcept {
    at_ = std::to_chars(at_, end_, number).ptr;
    return *this;
  }
  std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_); }

 private:
  char* begin_;
  char* at_;
  char* end_;
};

}  // namespace

std::size_t head_bytes(const http_response& answer) noexcept { return own_bytes_max + answer.fields.size(); }

std::size_t write_head(std::span<std::byte> to, const http_response& answer, const head_extras& extras) noexcept {
  writer out(to);
  out << "HTTP/1.1 " << static_cast<std::uint64_t>(answer.status) << " " << reason_of(answer.status)
      << "\r\nDate: " << extras.date << "\r\n"
      << std::string_view(answer.fields.data(), answer.fields.size());
  // RFC 9110, 8.6: never with 1xx and 204; with 304 it would be the length of what is not sent.
  if (answer.status != 204 && answer.status != 304) out << "Content-Length: " << answer.body_bytes() << "\r\n";
  if (extras.closes) {
    out << "Connection: close\r\n";
  } else if (extras.says_alive) {
    out << "Connection: keep-alive\r\n";
  }
  out << "\r\n";
  return out.size();
}

}  // namespace slabbuf::examples
