// SPDX-License-Identifier: MIT
// The directory that is served, and the only way into it: no path and no symbolic link leads out.
// Threads: any.
// Lifetime: must outlive whoever opens through it.
//
// openat2(2) with RESOLVE_BENEATH does that in the kernel. Where the system has no openat2 (before 5.6, or forbidden),
// the path is walked a directory at a time and symbolic links are refused altogether; beneath() says which.
#pragma once

#include "http/http_file.hpp"

#include <sys/stat.h>

#include <string>

namespace slabbuf::examples {

class root_directory {
 public:
  enum class walk : bool { by_kernel, by_hand };

  /// Throws std::system_error when it is no directory that can be read.
  explicit root_directory(const std::string& path);
  root_directory(const std::string& path, walk how);

  walk how() const noexcept { return how_; }
  int descriptor() const noexcept { return descriptor_.get(); }

  /// Opens `path`, relative and decoded, "" for the root itself, with flags of open(2); O_CLOEXEC, O_NOCTTY and
  /// O_NONBLOCK are added, so that a FIFO does not wait. On failure it owns nothing and errno says why: EXDEV when the
  /// path leads out.
  unique_descriptor open(const char* path, int flags) const noexcept;

  /// The same, but only if the path is in the system's cache: EAGAIN when a disk would have to be waited for.
  unique_descriptor open_now(const char* path, int flags) const noexcept;

  /// What the path means now; follows symbolic links, also out of the root: only to compare it with what was opened.
  bool status(const char* path, struct ::stat& status) const noexcept;

 private:
  unique_descriptor open_by_kernel(const char* path, int flags, bool cached) const noexcept;
  unique_descriptor open_by_hand(const char* path, int flags) const noexcept;

  unique_descriptor descriptor_;
  walk how_;
  bool knows_cached_ = true;  // RESOLVE_CACHED: since 5.12
};

}  // namespace slabbuf::examples
