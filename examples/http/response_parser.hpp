// SPDX-License-Identifier: MIT
// HTTP/1.x responses out of the bytes of a connection, by llhttp: the head is collected, within limits; a body is
// handed on where it lies, never copied. Threads: one at a time. Lifetime: the handler must outlive feed(); what it is
// given is good until it returns. It must not throw: llhttp is C. May not be moved: llhttp keeps its address.
//
//     expect() --> head (interim ones, 1xx, are told of and skipped) --> body pieces --> complete --> expect() ...
#pragma once

#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf::examples {

struct response_head {
  int status = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  std::optional<std::uint64_t> content_length;              // as the field says

  /// The value of the first field of this name (lower case); empty when there is none.
  std::string_view find(std::string_view name) const noexcept;
};

struct response_limits {
  std::size_t head_bytes_max = 64 << 10;  // status line, names and values together, interim responses as well
  std::size_t fields_max = 128;
};

class response_handler {
 public:
  /// 1xx but for 101.
  virtual void on_interim(int status) noexcept = 0;
  virtual void on_head(const response_head& head) noexcept = 0;
  virtual void on_body(std::span<const std::byte> bytes) noexcept = 0;

 protected:
  ~response_handler() = default;
};

class response_parser {
 public:
  enum class state { head, body, complete, failed };

  explicit response_parser(const response_limits& limits = {});
  response_parser(const response_parser&) = delete;
  response_parser& operator=(const response_parser&) = delete;

  /// The next response answers a HEAD request, or another one.
  void expect(bool answers_head);

  /// Parses until the response is complete, the bytes end, or they are no HTTP, and returns how many it took. Others
  /// are behind the response, and nobody has asked for them.
  std::size_t feed(std::span<const std::byte> bytes, response_handler& handler);

  /// The connection has ended: complete, where that is what ends the body; else failed.
  void finish();

  state now() const noexcept { return state_; }
  /// Why it failed, for people.
  const std::string& failure() const noexcept { return failure_; }
  /// Whether another request may be sent on the connection, once it is complete.
  bool keep_alive() const noexcept { return keep_alive_; }

 private:
  // llhttp's callbacks.
  struct on;

  bool grow(std::string& text, const char* at, std::size_t count);
  int begin_field();
  int end_head();
  int end_message();

  response_limits limits_;
  ::llhttp_settings_t settings_{};
  ::llhttp_t parser_{};
  response_handler* handler_ = nullptr;  // while feed() runs
  response_head head_;
  std::size_t head_bytes_ = 0;  // so far, against the limit
  bool answers_head_ = false;
  bool in_value_ = false;
  bool keep_alive_ = false;
  state state_ = state::complete;
  std::string failure_;
};

}  // namespace slabbuf::examples
