// SPDX-License-Identifier: MIT
// Text of whatever origin, character by character.
// Threads: any.
// Lifetime: nothing is kept.
#pragma once

#include <cstddef>
#include <string_view>

namespace slabbuf::examples {

struct utf8_character {
  char32_t code = 0;
  std::size_t size = 0;  // in bytes; 0: this is no UTF-8
};

/// The character that `text`, which is not empty, begins with.
utf8_character first_character(std::string_view text);

}  // namespace slabbuf::examples
