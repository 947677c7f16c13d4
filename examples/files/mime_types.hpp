// SPDX-License-Identifier: MIT
// The media type of a file by the end of its name.
// Threads: any.
#pragma once

#include <string_view>

namespace slabbuf::examples {

struct media_type {
  std::string_view name;  // what Content-Type says
  bool compressed;        // the format is: a .gz beside it would be of no use
};

/// application/octet-stream for names nobody knows.
media_type media_type_of(std::string_view path) noexcept;

}  // namespace slabbuf::examples
