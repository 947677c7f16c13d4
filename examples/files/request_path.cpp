// SPDX-License-Identifier: MIT
#include "files/request_path.hpp"

#include "http/http_host.hpp"

#include <cstddef>

namespace slabbuf::examples {
namespace {

int hex_value(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

path_fault decode_segment(std::string_view encoded, std::string& path) {
  for (std::size_t at = 0; at < encoded.size(); ++at) {
    char letter = encoded[at];
    if (letter == '%') {
      if (encoded.size() - at < 3) return path_fault::bad_escape;
      const int high = hex_value(encoded[at + 1]);
      const int low = hex_value(encoded[at + 2]);
      if (high < 0 || low < 0) return path_fault::bad_escape;
      letter = static_cast<char>(high * 16 + low);
      if (letter == '\0' || letter == '/') return path_fault::forbidden;
      at += 2;
    }
    path.push_back(letter);
  }
  return path_fault::none;
}

}  // namespace

path_fault decode_path(std::string_view target, std::string& path) {
  path.clear();
  // RFC 9112, 3.2: a fragment is not sent.
  if (target.find('#') != std::string_view::npos) return path_fault::bad_target;
  target = without_origin(target);
  if (target.substr(0, 1) != "/") return path_fault::bad_target;
  target = target.substr(0, target.find('?'));
  while (!target.empty()) {
    target.remove_prefix(1);  // the slash
    const std::string_view encoded = target.substr(0, target.find('/'));
    target.remove_prefix(encoded.size());
    const std::size_t begin = path.size();
    if (const path_fault fault = decode_segment(encoded, path); fault != path_fault::none) return fault;
    const std::string_view segment = std::string_view(path).substr(begin);
    if (segment == "..") return path_fault::forbidden;
    if (segment.empty() || segment == ".") {
      path.resize(begin);
    } else if (!target.empty()) {
      path.push_back('/');
    }
  }
  return path_fault::none;
}

std::string encode_path(std::string_view path) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  static constexpr std::string_view plain = "-._~/!$&'()*+,;=:@";
  std::string encoded;
  encoded.reserve(path.size());
  for (const char each : path) {
    const bool alphanumeric =
        (each >= '0' && each <= '9') || (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z');
    if (alphanumeric || plain.find(each) != std::string_view::npos) {
      encoded.push_back(each);
    } else {
      const auto byte = static_cast<unsigned char>(each);
      encoded.push_back('%');
      encoded.push_back(digits[byte >> 4]);
      encoded.push_back(digits[byte & 15]);
    }
  }
  return encoded;
}

}  // namespace slabbuf::examples
