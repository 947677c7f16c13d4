// SPDX-License-Identifier: MIT
#include "files/preconditions.hpp"

#include "http/http_date.hpp"

#include <optional>

namespace slabbuf::examples {
namespace {

std::optional<std::time_t> date_of(const http_request& request, std::string_view field) noexcept {
  const auto text = request.field(field);
  return text ? parse_http_date(*text) : std::nullopt;
}

}  // namespace

bool tag_matches(std::string_view list, std::string_view tag, bool weakly) noexcept {
  if (tag.empty()) return false;
  while (!list.empty()) {
    std::string_view each = next_tag(list);
    // It stands alone, but maybe in a field of its own beside another one (RFC 9110, 5.3).
    if (each == "*") return true;
    if (each.substr(0, 2) == "W/") {
      if (!weakly) continue;
      each.remove_prefix(2);
    }
    if (each == tag) return true;
  }
  return false;
}

precondition check_preconditions(const http_request& request, const current_state& current) {
  const bool exists = !current.tag.empty();
  const bool reads = request.method() == http_method::get || request.method() == http_method::head;
  std::string room;
  if (const auto tags = request.list("if-match", room)) {
    if (!tag_matches(*tags, current.tag, false)) return precondition::failed;
  } else if (const auto date = date_of(request, "if-unmodified-since"); date && exists) {
    if (current.modified > *date) return precondition::failed;
  }
  if (const auto tags = request.list("if-none-match", room)) {
    if (tag_matches(*tags, current.tag, true)) return reads ? precondition::not_modified : precondition::failed;
  } else if (reads && exists) {
    const auto date = date_of(request, "if-modified-since");
    if (date && current.modified <= *date) return precondition::not_modified;
  }
  return precondition::holds;
}

bool range_applies(const http_request& request, const current_state& current) {
  const auto condition = request.field("if-range");
  if (!condition) return true;
  if (condition->find('"') != std::string_view::npos) return *condition == current.tag;
  const auto date = parse_http_date(*condition);
  return date && *date == current.modified && std::time(nullptr) > current.modified + 1;
}

}  // namespace slabbuf::examples
