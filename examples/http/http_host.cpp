// SPDX-License-Identifier: MIT
#include "http/http_host.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace slabbuf::examples {
namespace {

constexpr std::string_view digits = "0123456789";
constexpr std::string_view hex_digits = "0123456789abcdefABCDEF";
// RFC 3986, 2.2 and 2.3: what a name may have, beside escapes.
constexpr std::string_view name_letters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=";

struct authority {
  std::string_view host;  // with the brackets of an address of IPv6
  std::string_view port;  // with its colon
};

authority split(std::string_view field) noexcept {
  const std::size_t end = field.substr(0, 1) == "[" ? std::min(field.find(']'), field.size() - 1) + 1 : field.find(':');
  const std::string_view host = field.substr(0, end);
  return {host, field.substr(host.size())};
}

bool is_address(int family, std::string_view text) noexcept {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  std::array<char, sizeof(::in6_addr)> address{};
  if (text.size() >= terminated.size()) return false;
  std::copy(text.begin(), text.end(), terminated.begin());
  return ::inet_pton(family, terminated.data(), address.data()) == 1;
}

bool is_bracketed_address(std::string_view host) noexcept {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' &&
         is_address(AF_INET6, host.substr(1, host.size() - 2));
}

bool is_name(std::string_view host) noexcept {
  for (std::size_t at = 0; at < host.size(); ++at) {
    if (host[at] == '%') {
      const std::string_view escape = host.substr(at + 1, 2);
      if (escape.size() != 2 || escape.find_first_not_of(hex_digits) != std::string_view::npos) return false;
      at += 2;
    } else if (name_letters.find(host[at]) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

// The authority of an absolute target counts, not Host (RFC 9112, 3.2.2).
std::string_view effective_host(const http_request& request) noexcept {
  const auto origin = origin_of(request.target());
  return origin ? origin->authority : request.field_or_empty("host");
}

// Without the port, where that is what a URL of this scheme has anyway.
std::string_view without_default_port(std::string_view field, std::string_view scheme) noexcept {
  const authority parts = split(field);
  const bool is_default = parts.port == ":" || parts.port == (equal_ignoring_case(scheme, "https") ? ":443" : ":80");
  return is_default ? parts.host : field;
}

}  // namespace

std::optional<target_origin> origin_of(std::string_view target) noexcept {
  static constexpr std::string_view separator = "://";
  if (target.substr(0, 1) == "/") return std::nullopt;  // as nearly always
  const std::size_t scheme = target.find(separator);
  if (scheme == std::string_view::npos) return std::nullopt;
  const std::string_view rest = target.substr(scheme + separator.size());
  return target_origin{target.substr(0, scheme), rest.substr(0, rest.find_first_of("/?#"))};
}

std::string_view without_origin(std::string_view target) noexcept {
  const auto origin = origin_of(target);
  if (!origin) return target;
  target.remove_prefix(static_cast<std::size_t>(origin->authority.data() - target.data()) + origin->authority.size());
  return target.substr(0, 1) == "/" ? target : "/";
}

bool is_host(std::string_view field) noexcept {
  const authority parts = split(field);
  if (!parts.port.empty() &&
      (parts.port.front() != ':' || parts.port.find_first_not_of(digits, 1) != std::string_view::npos))
    return false;
  if (parts.host.empty()) return parts.port.empty();
  return is_bracketed_address(parts.host) || is_name(parts.host);
}

bool is_for_this_server(const http_request& request, bool over_loopback, std::span<const std::string> names) noexcept {
  if (!over_loopback && names.empty()) return true;
  const std::string_view field = effective_host(request);
  if (field.empty()) return true;
  std::string_view host = split(field).host;
  if (is_bracketed_address(host) || is_address(AF_INET, host)) return true;
  if (!host.empty() && host.back() == '.') host.remove_suffix(1);
  static constexpr std::string_view local = "localhost";
  if (host.size() >= local.size() && equal_ignoring_case(host.substr(host.size() - local.size()), local) &&
      (host.size() == local.size() || host[host.size() - local.size() - 1] == '.'))
    return true;
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& each) { return equal_ignoring_case(host, each); });
}

// The schemes are not compared: a proxy in front may speak TLS where this server does not.
bool is_of_another_site(const http_request& request) noexcept {
  if (request.count("origin") > 1 || request.count("sec-fetch-site") > 1) return true;  // no browser does that
  if (equal_ignoring_case(request.field_or_empty("sec-fetch-site"), "cross-site")) return true;
  const auto field = request.field("origin");
  if (!field) return false;
  const auto origin = origin_of(*field);
  return !origin || !equal_ignoring_case(without_default_port(origin->authority, origin->scheme),
                                         without_default_port(effective_host(request), origin->scheme));
}

}  // namespace slabbuf::examples
