// SPDX-License-Identifier: MIT
#include "http/url.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <system_error>

namespace slabbuf::examples {
namespace {

constexpr std::uint16_t http_port = 80;
constexpr std::uint16_t https_port = 443;

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw std::invalid_argument(fmt::format("'{}' {} (example: https://localhost:8443/file)", text, why));
}

std::string lowercase(std::string_view text) {
  std::string lower(text);
  for (char& each : lower) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  return lower;
}

std::optional<int> hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  const int lower = std::tolower(static_cast<unsigned char>(digit));
  if (lower >= 'a' && lower <= 'f') return lower - 'a' + 10;
  return std::nullopt;
}

// What would end a request line or a field early, or is not a URL's to have: everything else is the server's business.
bool may_stand_in_url(char each) {
  const auto byte = static_cast<unsigned char>(each);
  return byte > 0x20 && byte < 0x7f && each != '"' && each != '<' && each != '>' && each != '\\' && each != '^' &&
         each != '`' && each != '{' && each != '|' && each != '}';
}

// "host", "host:80", "[::1]:80".
void read_authority(std::string_view text, std::string_view authority, http_url& url) {
  if (authority.find('@') != std::string_view::npos) refuse(text, "has a user name, which is not supported");
  std::string_view host = authority;
  std::string_view port;
  if (const std::size_t bracket = authority.find(']'); authority.substr(0, 1) == "[") {
    if (bracket == std::string_view::npos) refuse(text, "has a '[' without a ']'");
    host = authority.substr(1, bracket - 1);
    port = authority.substr(bracket + 1);
  } else if (const std::size_t colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (host.empty()) refuse(text, "names no host");
  url.host = lowercase(host);
  url.port = url.tls ? https_port : http_port;
  if (port.empty()) return;
  const char* const end = port.data() + port.size();
  const auto [rest, error] = std::from_chars(port.data() + 1, end, url.port);
  if (port.front() != ':' || error != std::errc() || rest != end || url.port == 0) {
    refuse(text, "has no port between 1 and 65535");
  }
}

std::string target_of(std::string_view text) {
  text = text.substr(0, text.find('#'));
  if (text.empty() || text.front() == '?') return fmt::format("/{}", text);
  return std::string(text);
}

}  // namespace

http_url parse_url(std::string_view text) {
  if (text.size() > url_bytes_max) refuse(fmt::format("{}...", text.substr(0, 60)), "is too long");
  if (!std::all_of(text.begin(), text.end(), may_stand_in_url)) {
    refuse(text, "contains what must be written as %XX: a space, say, as %20");
  }
  const std::size_t colon = text.find("://");
  const std::string scheme = lowercase(text.substr(0, colon == std::string_view::npos ? 0 : colon));
  if (scheme != "http" && scheme != "https") refuse(text, "is neither http:// nor https://");
  http_url url;
  url.tls = scheme == "https";
  const std::string_view behind = text.substr(colon + 3);
  const std::size_t path = behind.find_first_of("/?#");
  read_authority(text, behind.substr(0, path), url);
  url.target = target_of(path == std::string_view::npos ? std::string_view() : behind.substr(path));
  return url;
}

http_url resolve_url(const http_url& base, std::string_view reference) {
  const std::string scheme = base.tls ? "https:" : "http:";
  if (reference.substr(0, 2) == "//") return parse_url(fmt::format("{}{}", scheme, reference));
  // A scheme comes before anything else that may have a colon.
  const std::size_t colon = reference.find(':');
  if (colon != std::string_view::npos && colon < reference.find_first_of("/?#")) return parse_url(reference);
  http_url root = base;
  root.target.clear();
  const std::string origin = format_url(root);
  if (reference.substr(0, 1) == "/") return parse_url(fmt::format("{}{}", origin, reference));
  const std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
  if (reference.empty() || reference.front() == '#') return base;
  if (reference.front() == '?') return parse_url(fmt::format("{}{}{}", origin, path, reference));
  return parse_url(fmt::format("{}{}{}", origin, path.substr(0, path.rfind('/') + 1), reference));
}

std::string host_field(const http_url& url) {
  const bool v6 = url.host.find(':') != std::string::npos;
  const std::string host = v6 ? fmt::format("[{}]", url.host) : url.host;
  return url.port == (url.tls ? https_port : http_port) ? host : fmt::format("{}:{}", host, url.port);
}

std::string format_url(const http_url& url) {
  return fmt::format("{}://{}{}", url.tls ? "https" : "http", host_field(url), url.target);
}

std::string file_name_of(const http_url& url) {
  const std::string_view path = std::string_view(url.target).substr(0, url.target.find('?'));
  const std::string_view escaped = path.substr(path.rfind('/') + 1);
  std::string name;
  for (std::size_t index = 0; index < escaped.size(); ++index) {
    if (escaped[index] == '%' && index + 2 < escaped.size()) {
      const auto high = hex_digit(escaped[index + 1]);
      const auto low = hex_digit(escaped[index + 2]);
      if (high && low) {
        name += static_cast<char>(*high * 16 + *low);
        index += 2;
        continue;
      }
    }
    name += escaped[index];
  }
  const bool names_a_file = name != "." && name != ".." && name.find('/') == std::string::npos &&
                            name.find('\0') == std::string::npos && name.size() <= 255;
  return names_a_file ? name : std::string();
}

}  // namespace slabbuf::examples
