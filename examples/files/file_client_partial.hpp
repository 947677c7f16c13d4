// SPDX-License-Identifier: MIT
// A download that is not complete: a file beside its target, .NAME.part, and a note of what it is of, .NAME.part.json,
// from which another run goes on.
// Threads: one at a time.
// Lifetime: as its download. What is left when it dies, another run finds, unless discard() or commit() was called.
//
// Nobody sees half a file: the target is replaced by rename(2), after its bytes are on the disk. The note lags behind
// the bytes, never before them.
#pragma once

#include "files/file_client_ranges.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace slabbuf::examples {

struct partial_note {
  std::string url;
  std::string etag;  // strong: the same as long as every byte is
  std::uint64_t size = 0;
  std::vector<byte_range> missing;
};

class partial_file {
 public:
  /// Opens or makes it, beside what a link names. Throws std::system_error, also when another process has it, or when
  /// there is something at the target that is no file.
  explicit partial_file(const std::filesystem::path& target);
  partial_file(const partial_file&) = delete;
  partial_file& operator=(const partial_file&) = delete;
  ~partial_file();

  /// What an earlier run has left of this URL; nothing, when there is nothing that fits together.
  std::optional<partial_note> note(const std::string& url) const;
  /// Throws std::system_error.
  void save(const partial_note& note) const;

  /// Writes all of `bytes` at `offset`. It goes to the page cache, as a rule at once: there is no server here that
  /// others wait for.
  std::error_code write(std::span<const std::byte> bytes, std::uint64_t offset) noexcept;
  /// Reads up to `into.size()` bytes; 0 at the end. Throws std::system_error.
  std::size_t read(std::span<std::byte> into, std::uint64_t offset) const;

  /// Forgets all bytes. Throws std::system_error.
  void clear();
  /// Removes file and note.
  void discard() noexcept;
  /// The file, with the bytes it has, is the target. Throws std::system_error.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;
  std::filesystem::path note_path_;
  int descriptor_ = -1;
};

}  // namespace slabbuf::examples
