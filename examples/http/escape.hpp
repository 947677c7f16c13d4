// SPDX-License-Identifier: MIT
// Text of whatever origin, names of files say, in HTML.
// Threads: any.
// Lifetime: the strings are the caller's.
#pragma once

#include <string>
#include <string_view>

namespace slabbuf::examples {

/// `text` in an element or a quoted attribute: & < > " ' escaped, what is no UTF-8 replaced, and control characters.
std::string escape_html(std::string_view text);

}  // namespace slabbuf::examples
