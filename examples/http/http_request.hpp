// SPDX-License-Identifier: MIT
// The head of a request as it lies in the block it was received into: views, nothing copied.
// Threads: that of its connection.
// Lifetime: of its exchange, until the body is read or the answer is given: then the block may be gone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// Methods that are told apart. `other` is known to HTTP and to nobody here.
enum class http_method : std::uint8_t { get, head, put, remove, options, other };

/// Where a part of the head is, counted from its first byte, which may move while the head is received.
struct http_text_place {
  std::uint16_t position = 0;
  std::uint16_t length = 0;
};

class http_request {
 public:
  /// As many bytes of head as can be counted; a server takes fewer (431).
  static constexpr std::size_t head_bytes_max = std::numeric_limits<std::uint16_t>::max();
  /// Fields more than these are refused (431).
  static constexpr std::size_t fields_max = 64;

  http_method method() const noexcept { return method_; }
  /// As it was sent: "/a%20b?c=d".
  std::string_view target() const noexcept { return text(target_); }
  /// 0 or 1, of HTTP/1.x.
  unsigned minor_version() const noexcept { return minor_version_; }

  /// The value of the first field of this name, in whatever case; nothing when there is none.
  std::optional<std::string_view> field(std::string_view name) const noexcept;
  /// The same, but empty when there is none: for lists and whatever else means nothing when it is empty.
  std::string_view field_or_empty(std::string_view name) const noexcept {
    return field(name).value_or(std::string_view());
  }
  /// The list that all fields of this name are (RFC 9110, 5.3): nothing when there is none, the value of the only one,
  /// or all of them, joined in `room`, which must live as long.
  std::optional<std::string_view> list(std::string_view name, std::string& room) const;
  /// How many fields have this name.
  std::size_t count(std::string_view name) const noexcept;
  /// Whether one of the fields of this name, a list, has this member, in whatever case.
  bool lists(std::string_view name, std::string_view member) const noexcept;

  /// Whether bytes follow the head, and how many when that is known (not of a chunked body).
  bool has_body() const noexcept { return chunked_ || content_length_ != 0; }
  std::optional<std::uint64_t> content_length() const noexcept {
    return chunked_ ? std::nullopt : std::optional(content_length_);
  }
  /// Whether the client waits for a 100 before it sends the body.
  bool expects_continue() const noexcept { return expects_continue_; }

 private:
  friend class http_parser;

  struct field_place {
    http_text_place name;
    http_text_place value;
  };

  std::string_view text(http_text_place place) const noexcept { return {base_ + place.position, place.length}; }

  const char* base_ = nullptr;
  http_method method_ = http_method::other;
  std::uint8_t minor_version_ = 1;
  bool chunked_ = false;
  bool expects_continue_ = false;
  std::uint16_t field_count_ = 0;
  http_text_place target_;
  std::uint64_t content_length_ = 0;
  // Only the first field_count_ mean anything. Left uninitialised: a request has few of them.
  std::array<field_place, fields_max> fields_;
};

/// Whether two texts are the same but for the case of ASCII letters.
bool equal_ignoring_case(std::string_view left, std::string_view right) noexcept;

/// `text` without blanks around it.
std::string_view trimmed(std::string_view text) noexcept;

/// Takes the first member off a comma-separated list, trimmed; empty at the end and for empty members. Commas within
/// quotes separate nothing, and within quoted strings a backslash takes the quote's meaning away.
std::string_view next_member(std::string_view& list) noexcept;

/// The same of a list of entity tags, where a backslash is a letter like others (RFC 9110, 8.8.3).
std::string_view next_tag(std::string_view& list) noexcept;

/// How much an Accept list wants this type, in thousandths, 0 for not at all: what is said of it, or of "type/*", or of
/// "*/*" (RFC 9110, 12.5.1). Named itself, it counts one more, so that it comes before what is only not refused.
unsigned media_weight(std::string_view list, std::string_view type) noexcept;

/// Whether an Accept-Encoding list takes this coding (RFC 9110, 12.5.3): what is said of it, or else of "*".
bool accepts_coding(std::string_view list, std::string_view coding) noexcept;

}  // namespace slabbuf::examples
