// SPDX-License-Identifier: MIT
// The files that one thread has opened lately, by path: a request for one of them costs a stat(2) instead of an open.
// Threads: one.
// Lifetime: the root must outlive it. A file that nobody asked for since the last but one sweep() is closed.
//
// Correct whatever is renamed: a path is looked up again for each request, and what was opened is used only while the
// path still means that very state of that very file.
#pragma once

#include "files/open_file.hpp"
#include "files/root_directory.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace slabbuf::examples {

class open_files {
 public:
  /// Descriptors it keeps open at most.
  static constexpr std::size_t files_max = 256;

  explicit open_files(const root_directory& root) : root_(root), slots_(files_max) {}

  /// The file of this path, if it was put here and has not changed.
  std::shared_ptr<const open_file> find(const std::string& path);

  void put(const std::string& path, std::shared_ptr<const open_file> file);

  /// Closes what was not used since the sweep before: a file that was deleted gives its space back.
  void sweep() noexcept;

 private:
  struct slot {
    std::string path;
    std::shared_ptr<const open_file> file;
    bool used = false;
  };

  slot& slot_of(const std::string& path) noexcept;

  const root_directory& root_;
  std::vector<slot> slots_;  // by hash: two paths that share one take turns
};

/// Opens a path for reading. A directory or a regular file; otherwise null and errno: EACCES for whatever is neither.
/// With `now`, EAGAIN when a disk would have to be waited for.
std::shared_ptr<const open_file> open_to_read(const root_directory& root, const char* path, bool now);

}  // namespace slabbuf::examples
