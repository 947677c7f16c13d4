// SPDX-License-Identifier: MIT
// Host fields: what is one, and whether this server is meant by it.
// Threads: any.
#pragma once

#include "http/http_request.hpp"

#include <span>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2), or empty, as where a target has no authority.
bool is_host(std::string_view field) noexcept;

/// Whether a request is for a server that only this machine can reach: its host is localhost, a name in .localhost, an
/// address, or one of `names`. Another name has been made to lead here by whoever it belongs to, whose page a browser
/// on this machine shows (DNS rebinding). Without a Host, as HTTP/1.0 may be, it is not from a browser, and is.
bool names_this_machine(const http_request& request, std::span<const std::string> names) noexcept;

/// Whether a browser says that the page of another site asks for this (Sec-Fetch-Site, Origin).
bool is_of_another_site(const http_request& request) noexcept;

}  // namespace slabbuf::examples
