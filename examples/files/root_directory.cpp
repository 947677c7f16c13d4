// SPDX-License-Identifier: MIT
#include "files/root_directory.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

// openat2(2) refuses what has no meaning with O_PATH.
constexpr int always(int flags) noexcept {
  return (flags & O_PATH) != 0 ? flags | O_CLOEXEC : flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

unique_descriptor open_root(const std::string& path) {
  unique_descriptor root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw std::system_error(errno, std::system_category(), "cannot serve '" + path + "'");
  return root;
}

// Debian 12's C library has no function for it.
int openat2(int directory, const char* path, const ::open_how& how) noexcept {
  return static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

::open_how beneath(int flags, bool cached) noexcept {
  ::open_how how{};
  how.flags = static_cast<decltype(how.flags)>(always(flags));
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (cached) how.resolve |= RESOLVE_CACHED;
  return how;
}

}  // namespace

root_directory::root_directory(const std::string& path) : root_directory(path, walk::by_kernel) {
  const unique_descriptor probe(openat2(descriptor(), ".", beneath(O_RDONLY | O_DIRECTORY, false)));
  // A filter of system calls may say EPERM.
  if (!probe) how_ = walk::by_hand;
  if (how_ == walk::by_kernel) {
    const unique_descriptor cached(openat2(descriptor(), ".", beneath(O_RDONLY | O_DIRECTORY, true)));
    knows_cached_ = cached || errno != EINVAL;
  }
}

root_directory::root_directory(const std::string& path, walk how) : descriptor_(open_root(path)), how_(how) {}

unique_descriptor root_directory::open(const char* path, int flags) const noexcept {
  return how_ == walk::by_kernel ? open_by_kernel(path, flags, false) : open_by_hand(path, flags);
}

unique_descriptor root_directory::open_now(const char* path, int flags) const noexcept {
  if (how_ == walk::by_kernel && knows_cached_) return open_by_kernel(path, flags, true);
  errno = EAGAIN;
  return {};
}

bool root_directory::status(const char* path, struct ::stat& status) const noexcept {
  return ::fstatat(descriptor(), *path != '\0' ? path : ".", &status, 0) == 0;
}

unique_descriptor root_directory::open_by_kernel(const char* path, int flags, bool cached) const noexcept {
  const ::open_how how = beneath(flags, cached);
  for (int attempts = 0;; ++attempts) {
    unique_descriptor opened(openat2(descriptor(), *path != '\0' ? path : ".", how));
    // A rename somewhere in the tree made the kernel unsure: EAGAIN, which passes.
    if (opened || cached || errno != EAGAIN || attempts == 16) return opened;
  }
}

unique_descriptor root_directory::open_by_hand(const char* path, int flags) const noexcept {
  std::string_view rest = path;
  while (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
  unique_descriptor directory;
  char name[NAME_MAX + 1];
  for (;;) {
    const int from = directory ? directory.get() : descriptor();
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (part.size() > NAME_MAX || part == "..") {
      errno = part == ".." ? EXDEV : ENAMETOOLONG;
      return {};
    }
    std::memcpy(name, part.data(), part.size());
    name[part.size()] = '\0';
    const bool last = part.size() == rest.size();
    // A symbolic link is ELOOP, or ENOTDIR where a directory is asked for.
    const int how = last ? always(flags) | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    unique_descriptor opened(::openat(from, part.empty() ? "." : name, how, 0));
    if (last || !opened) return opened;
    directory = std::move(opened);
    rest.remove_prefix(part.size());
    while (!rest.empty() && rest.front() == '/') rest.remove_prefix(1);
  }
}

}  // namespace slabbuf::examples
