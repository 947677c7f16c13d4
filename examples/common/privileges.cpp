// SPDX-License-Identifier: MIT
#include "common/privileges.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace slabbuf::examples {

bool drop_privileges(const std::string& user) {
  if (::geteuid() != 0) return false;
  ::passwd entry{};
  ::passwd* found = nullptr;
  std::array<char, 16384> strings{};
  const int error = ::getpwnam_r(user.c_str(), &entry, strings.data(), strings.size(), &found);
  if (error != 0) throw std::system_error(error, std::system_category(), "cannot look up user '" + user + "'");
  if (found == nullptr) throw std::runtime_error("there is no user '" + user + "'");
  if (entry.pw_uid == 0) return false;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid) != 0 ||
      ::setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid) != 0) {
    throw std::system_error(errno, std::system_category(), "cannot become user '" + user + "'");
  }
  if (::setuid(0) == 0) throw std::runtime_error("could become root again");
  return true;
}

}  // namespace slabbuf::examples
