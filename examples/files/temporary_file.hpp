// SPDX-License-Identifier: MIT
// A file on its way to replace another one: written under a name of its own in the same directory, renamed when it is
// whole and on the disk. Whatever happens before that, the old file is what there is.
// Threads: one at a time; waits for the disk.
// Lifetime: removed when it dies before commit(). A lock says that somebody still writes it; one without is stale.
#pragma once

#include "files/root_directory.hpp"
#include "http/http_file.hpp"

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// Whether a file is called like a temporary: those are not served, listed or written by name.
bool is_temporary_name(std::string_view name) noexcept;

class temporary_file {
 public:
  /// None.
  temporary_file() noexcept = default;
  /// In this directory, which it keeps open. Throws std::system_error.
  temporary_file(unique_descriptor directory, ::mode_t mode);
  temporary_file(temporary_file&& other) noexcept = default;
  temporary_file& operator=(temporary_file&& other) noexcept;
  ~temporary_file() { remove(); }

  explicit operator bool() const noexcept { return static_cast<bool>(file_); }
  int directory() const noexcept { return directory_.get(); }
  int descriptor() const noexcept { return file_.get(); }

  /// As file_access.hpp has it. Throws std::system_error.
  void take_access_of(const struct ::stat& replaced);

  /// Writes all of `bytes`, behind what is there. Throws std::system_error; a part of them may have been written.
  void append(std::span<const std::byte> bytes);
  std::uint64_t size() const noexcept { return size_; }

  /// Brings the bytes to the disk.
  void sync();
  /// Makes it `name` of the directory, whatever that was, and brings that to the disk. After sync(). Throws
  /// std::system_error: then it is not. False when it is, but the disk may not know.
  bool commit(const std::string& name);

 private:
  void remove() noexcept;

  unique_descriptor directory_;
  unique_descriptor file_;
  std::string name_;
  std::uint64_t size_ = 0;
};

/// Removes the temporaries beneath the root that nobody writes any more. Returns how many. Does not follow symbolic
/// links.
std::size_t remove_stale_temporaries(const root_directory& root);

}  // namespace slabbuf::examples
