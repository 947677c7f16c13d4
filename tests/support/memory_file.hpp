// SPDX-License-Identifier: MIT
// A file without a name, for what reads and writes files.
// Threads: one.
// Lifetime: the descriptor belongs to the object; what is to own one takes duplicate().
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

namespace slabbuf::support {

class memory_file {
 public:
  explicit memory_file(std::string_view content = {}) : descriptor_(::memfd_create("test", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::system_category(), "memfd_create");
    if (::pwrite(descriptor_, content.data(), content.size(), 0) != static_cast<::ssize_t>(content.size()))
      throw std::system_error(errno, std::system_category(), "pwrite");
  }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() { ::close(descriptor_); }

  int descriptor() const noexcept { return descriptor_; }
  int duplicate() const { return ::dup(descriptor_); }

  std::string content() const {
    std::string all(static_cast<std::size_t>(::lseek(descriptor_, 0, SEEK_END)), '?');
    all.resize(static_cast<std::size_t>(::pread(descriptor_, all.data(), all.size(), 0)));
    return all;
  }

 private:
  int descriptor_;
};

}  // namespace slabbuf::support
