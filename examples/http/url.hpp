// SPDX-License-Identifier: MIT
// http:// and https:// addresses as a client's command line and the Location of a redirect have them (RFC 3986).
// Threads: plain values.
// Lifetime: copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace slabbuf::examples {

struct http_url {
  bool tls = false;
  std::string host;  // a name or an address; IPv6 without its brackets
  std::uint16_t port = 0;
  std::string target;  // what a request line asks for: begins with '/', is escaped, has no fragment

  /// Whether both are served by the same server.
  bool same_origin(const http_url& other) const noexcept {
    return tls == other.tls && port == other.port && host == other.host;
  }
};

/// Longer ones are refused, on the command line and in a redirect.
inline constexpr std::size_t url_bytes_max = 8192;

/// Throws std::invalid_argument, with a line for people, for whatever is not an http:// or https:// URL, has a name and
/// password, or contains what must be escaped.
http_url parse_url(std::string_view text);

/// What `reference` means in the document `base`: with or without scheme, host and leading slash. Throws as
/// parse_url().
http_url resolve_url(const http_url& base, std::string_view reference);

/// The Host field: the port is left out where it is the scheme's own.
std::string host_field(const http_url& url);

/// The inverse of parse_url().
std::string format_url(const http_url& url);

/// The last segment of the path with its escapes undone: what a download is called. Empty when there is none that can
/// name a file: "/", "/..", a slash or a NUL that was escaped.
std::string file_name_of(const http_url& url);

}  // namespace slabbuf::examples
