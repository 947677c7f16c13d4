// SPDX-License-Identifier: MIT
#include "http/escape.hpp"

#include "common/utf8.hpp"

#include <algorithm>
#include <cstddef>

namespace slabbuf::examples {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string escape_html(std::string_view text) {
  std::string safe;
  safe.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const utf8_character next = first_character(text);
    switch (next.code) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\'': safe += "&#39;"; break;
      default: {
        const bool control = next.code < 0x20 || next.code == 0x7F;  // 0 where it is no UTF-8, too
        safe += control ? replacement : text.substr(0, next.size);
      }
    }
    text.remove_prefix(std::max<std::size_t>(next.size, 1));
  }
  return safe;
}

}  // namespace slabbuf::examples
