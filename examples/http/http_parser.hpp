// SPDX-License-Identifier: MIT
// Requests out of bytes, by llhttp: the head where it lies, the body decoded in place.
// Threads: that of its connection.
// Lifetime: of the request under way. It must not move: llhttp's callbacks know its address.
//
//     | request line | fields | blank line | body, chunked or not | next request ...
//     |<------ parse_head() ------------->|<-- decode_body() --->|
#pragma once

#include "http/http_request.hpp"

#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace slabbuf::examples {

class http_parser {
 public:
  enum class progress : std::uint8_t {
    more,      // all bytes were good, and the end is not among them
    complete,  // the end is at consumed()
    refused,   // see status() and why()
  };

  /// Of the next request, into `request`. A head of more bytes than this is refused, and so is a longer target.
  void begin(http_request& request, std::size_t head_bytes_max, std::size_t target_bytes_max) noexcept;

  /// The bytes of the head received since the last call: head[from, to). `head` is where its first byte is, as in all
  /// calls since begin(). Nothing is written to it, and nothing behind head_bytes_max is looked at.
  progress parse_head(const char* head, std::size_t from, std::size_t to) noexcept;

  /// The next bytes of the body, when there is one. What they come to, without chunks and their like, is written to
  /// `to`, which may be before them in their block: decoded() of them.
  progress decode_body(std::span<const char> bytes, char* to) noexcept;

  /// How many bytes the last call took; of parse_head(), the length of the head.
  std::size_t consumed() const noexcept { return consumed_; }
  std::size_t decoded() const noexcept { return decoded_; }
  /// How many bytes of the body are to come, as far as that is known: of a chunked one, any number.
  std::uint64_t body_bytes_left() const noexcept {
    return (llhttp_.flags & F_CHUNKED) != 0 ? std::numeric_limits<std::uint64_t>::max() : llhttp_.content_length;
  }

  /// Whether the connection may be used again when all of the request has been read.
  bool keeps_alive() const noexcept { return keeps_alive_; }

  /// What a request that is refused is answered.
  int status() const noexcept { return status_; }
  std::string_view why() const noexcept { return why_; }

 private:
  struct callbacks;

  progress refuse(int status, std::string_view why) noexcept;
  progress refuse_what_llhttp_does(llhttp_errno_t error) noexcept;
  progress check_head() noexcept;
  bool check_lines() noexcept;
  bool check_framing(const char* from, const char* to) noexcept;

  llhttp_t llhttp_;
  http_request* request_;
  const char* head_;
  char* decode_to_;
  const char* framing_from_;  // what follows the last data of a chunked body
  std::size_t head_bytes_max_;
  std::size_t target_bytes_max_;
  std::size_t consumed_;
  std::size_t decoded_;
  std::string_view why_;
  int status_;
  bool in_value_;
  bool value_ended_;
  bool complete_;
  bool keeps_alive_;
  char framing_before_;  // the byte before, of the framing: chunk sizes, trailers and their line ends
};

}  // namespace slabbuf::examples
