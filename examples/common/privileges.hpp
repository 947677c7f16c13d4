// SPDX-License-Identifier: MIT
// A server that was started as root goes on as somebody who may do less.
// Threads: one; the C library changes the rights of all.
#pragma once

#include <string>

namespace slabbuf::examples {

/// If the process is root's, it becomes this user's, for good, with no groups but that one's; otherwise it stays what
/// it is. "root" stays root. Returns whether anything changed. Throws std::system_error, std::runtime_error (no such
/// user).
bool drop_privileges(const std::string& user);

}  // namespace slabbuf::examples
