// SPDX-License-Identifier: MIT
// A directory's entries, one after the other.
// Threads: one at a time: readdir() of one stream is nobody else's.
// Lifetime: owns the descriptor it reads from; closed with it.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace slabbuf::examples {

struct close_directory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using directory_stream = std::unique_ptr<DIR, close_directory>;

/// Takes the descriptor over, which may be -1; closes it where there is no memory for a stream. None, and errno, then.
inline directory_stream read_entries(int descriptor) noexcept {
  if (descriptor < 0) return nullptr;
  directory_stream stream(::fdopendir(descriptor));
  if (stream == nullptr) {
    const int error = errno;
    ::close(descriptor);
    errno = error;
  }
  return stream;
}

}  // namespace slabbuf::examples
