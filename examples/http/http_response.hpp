// SPDX-License-Identifier: MIT
// What is answered to a request: status, header fields, a body of texts and parts of a file, or of pooled blocks.
// Threads: that of its connection.
// Lifetime: of its exchange, until the answer has been sent.
#pragma once

#include "http/http_file.hpp"

#include <slabbuf/pool/buffer_chain.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace slabbuf::examples {

/// The bytes of a body in order: texts, and parts of one file, which are read (or sent by the system) when their turn
/// has come. Texts are outside of every budget: keep them small.
class http_body {
 public:
  struct piece {
    std::string text;          // if not empty, the piece is this
    std::uint64_t offset = 0;  // otherwise these bytes of the file
    std::uint64_t count = 0;

    std::uint64_t size() const noexcept { return text.empty() ? count : text.size(); }
  };

  /// No bytes.
  http_body() = default;
  explicit http_body(std::string text) : first_{std::move(text), 0, 0}, size_(first_.text.size()) {}
  http_body(std::shared_ptr<const http_file> file, std::uint64_t offset, std::uint64_t count)
      : file_(std::move(file)), first_{{}, offset, count}, size_(count) {}
  http_body(std::shared_ptr<const http_file> file, std::vector<piece> pieces);

  /// All bytes of it, and those that are still to be taken.
  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t left() const noexcept { return size_ - taken_; }

  const std::shared_ptr<const http_file>& file() const noexcept { return file_; }

  /// What comes next; of a text, what is left of it. Only while left() is not 0.
  bool next_is_text() const noexcept { return !current().text.empty(); }
  std::string_view next_text() const noexcept { return std::string_view(current().text).substr(piece_taken_); }
  std::uint64_t next_offset() const noexcept { return current().offset + piece_taken_; }
  std::uint64_t next_count() const noexcept { return current().size() - piece_taken_; }

  /// `count` bytes of what comes next have been taken.
  void take(std::uint64_t count) noexcept;

 private:
  const piece& current() const noexcept { return index_ == 0 ? first_ : more_[index_ - 1]; }

  std::shared_ptr<const http_file> file_;
  piece first_;
  std::vector<piece> more_;
  std::size_t index_ = 0;
  std::uint64_t piece_taken_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t size_ = 0;
};

/// Of its fields, the connection writes Date, Content-Length and Connection itself.
struct http_response {
  int status = 200;
  bool close = false;                          // the connection ends after this answer
  fmt::basic_memory_buffer<char, 512> fields;  // "Name: value\r\n" each
  http_body body;
  buffer_chain blocks;  // of http_exchange::buffers(): the body, when that has no bytes

  /// Adds a field. The value must be free of line breaks.
  void add(std::string_view name, std::string_view value);

  std::uint64_t body_bytes() const noexcept { return blocks.empty() ? body.size() : blocks.size(); }

  /// A text for people that says what the status is, and why.
  void say(int code, std::string_view why);
};

/// "Not Found" of 404.
std::string_view reason_of(int status) noexcept;

}  // namespace slabbuf::examples
