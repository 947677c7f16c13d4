// SPDX-License-Identifier: MIT
// The path a request means, out of its target: decoded, without dots, relative to the root.
// Threads: any.
#pragma once

#include <string>
#include <string_view>

namespace slabbuf::examples {

enum class path_fault { none, bad_target, bad_escape, forbidden };

/// Of "/a%20b/./c?x", "http://host/a%20b/c" or the like: "a b/c" into `path`; "" is the root, and a path that ended in
/// a slash still does. Refused are escapes that are none, escaped NULs and slashes, and "..", however it is written:
/// what a client means by those it can say without. Throws std::bad_alloc.
path_fault decode_path(std::string_view target, std::string& path);

/// The inverse, for links and Location: letters that a path may not contain as they are become escapes.
std::string encode_path(std::string_view path);

}  // namespace slabbuf::examples
