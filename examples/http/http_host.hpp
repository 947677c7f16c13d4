// SPDX-License-Identifier: MIT
// Host fields: what is one, and whether this server is meant by it.
// Threads: any.
#pragma once

#include "http/http_request.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2), or empty, as where a target has no authority.
bool is_host(std::string_view field) noexcept;

/// What comes before the path of a target in absolute-form (RFC 9112, 3.2.2), "http" and "files.example:8080"; nothing
/// of one in another form.
struct target_origin {
  std::string_view scheme;
  std::string_view authority;
};
std::optional<target_origin> origin_of(std::string_view target) noexcept;

/// The path and the query of a target, whatever its form: "/" where an absolute one has no path.
std::string_view without_origin(std::string_view target) noexcept;

/// Whether a request is for this server: its host is localhost, a name in .localhost, an address, or one of `names`.
/// Another name has been made to lead here by whoever it belongs to, whose page a browser shows (DNS rebinding): on
/// this machine, when the request came over a loopback address; elsewhere that is known only where there are names.
/// Without a Host, as HTTP/1.0 may be, it is not from a browser, and is.
bool is_for_this_server(const http_request& request, bool over_loopback, std::span<const std::string> names) noexcept;

/// Whether a browser says that the page of another site asks for this (Sec-Fetch-Site, Origin).
bool is_of_another_site(const http_request& request) noexcept;

}  // namespace slabbuf::examples
