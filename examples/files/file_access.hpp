// SPDX-License-Identifier: MIT
// Who may read what: files that take the place of others.
// Threads: any.
// Lifetime: none.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

namespace slabbuf::examples {

/// Lets those read, write and execute the open file who may do so with the one that it is to replace: its mode, and its
/// group where the process may give it away. Where not, the group that the file has may do what everybody may, at
/// most. Access control lists are not looked at. False, with errno, when the mode cannot be set.
inline bool take_access_of(int descriptor, const struct ::stat& replaced) noexcept {
  struct ::stat own {};
  if (::fstat(descriptor, &own) != 0) return false;
  ::mode_t mode = replaced.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO);
  const auto same_owner = static_cast<::uid_t>(-1);
  if (own.st_gid != replaced.st_gid && ::fchown(descriptor, same_owner, replaced.st_gid) != 0)
    mode &= ~static_cast<::mode_t>(S_IRWXG) | ((mode & S_IRWXO) << 3U);
  return ::fchmod(descriptor, mode) == 0;
}

/// What a file is made with that replaces another one: nobody else opens it before take_access_of().
inline constexpr ::mode_t private_mode = S_IRUSR | S_IWUSR;
/// And one that replaces none: what the process's umask lets through.
inline constexpr ::mode_t public_mode = S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;

}  // namespace slabbuf::examples
