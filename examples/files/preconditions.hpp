// SPDX-License-Identifier: MIT
// Whether a request is to be done, given what it says of the state it expects (RFC 9110, 13).
// Threads: any.
#pragma once

#include "http/http_request.hpp"

#include <ctime>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// What there is now. Without a tag: nothing.
struct current_state {
  std::string_view tag;  // strong, with its quotes
  std::time_t modified = 0;
};

enum class precondition : std::uint8_t { holds, not_modified, failed };

/// In the order of RFC 9110, 13.2.2.
precondition check_preconditions(const http_request& request, const current_state& current);

/// Whether Range counts: there is no If-Range, or it names what there is now. A date names it only when nothing can
/// have changed within its second.
bool range_applies(const http_request& request, const current_state& current);

/// Whether a list of tags ("a", W/"b" or *) has this one; weakly, W/ makes no difference, otherwise it never matches.
bool tag_matches(std::string_view list, std::string_view tag, bool weakly) noexcept;

}  // namespace slabbuf::examples
