// SPDX-License-Identifier: MIT
#include "http/http_request.hpp"

#include <algorithm>

namespace slabbuf::examples {
namespace {

char lower(char letter) noexcept {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool is_blank(char each) noexcept { return each == ' ' || each == '\t'; }

}  // namespace

bool equal_ignoring_case(std::string_view left, std::string_view right) noexcept {
  return left.size() == right.size() &&
         std::equal(left.begin(), left.end(), right.begin(), [](char a, char b) { return lower(a) == lower(b); });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<std::string_view> http_request::list(std::string_view name, std::string& room) const {
  const std::optional<std::string_view> first = field(name);
  if (!first || count(name) == 1) return first;
  room.clear();
  for (std::size_t index = 0; index < field_count_; ++index) {
    if (!equal_ignoring_case(text(fields_[index].name), name)) continue;
    if (!room.empty()) room += ", ";
    room += trimmed(text(fields_[index].value));
  }
  return room;
}

namespace {

std::string_view next_between_commas(std::string_view& list, bool escapes) noexcept {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < list.size(); ++end) {
    const char each = list[end];
    if (each == '"') {
      quoted = !quoted;
    } else if (each == '\\' && quoted && escapes) {
      ++end;
    } else if (each == ',' && !quoted) {
      break;
    }
  }
  end = std::min(end, list.size());
  const std::string_view member = trimmed(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  return member;
}

// Of "gzip; q=0.5": whether it is not 0. What is no weight is none.
bool has_weight(std::string_view member) noexcept {
  while (!member.empty()) {
    const std::size_t end = member.find(';');
    const std::string_view parameter = trimmed(member.substr(0, end));
    if (equal_ignoring_case(parameter.substr(0, 2), "q="))
      return parameter.find_first_of("123456789", 2) != std::string_view::npos;
    member.remove_prefix(end == std::string_view::npos ? member.size() : end + 1);
  }
  return true;
}

}  // namespace

std::string_view next_member(std::string_view& list) noexcept { return next_between_commas(list, true); }

std::string_view next_tag(std::string_view& list) noexcept { return next_between_commas(list, false); }

bool accepts_coding(std::string_view list, std::string_view coding) noexcept {
  bool any = false;
  while (!list.empty()) {
    const std::string_view member = next_member(list);
    const std::size_t end = member.find(';');
    const std::string_view name = trimmed(member.substr(0, end));
    const bool accepted = end == std::string_view::npos || has_weight(member.substr(end + 1));
    // RFC 9110, 8.4.1.3: x-gzip is gzip.
    if (equal_ignoring_case(name, coding) || (coding == "gzip" && equal_ignoring_case(name, "x-gzip"))) return accepted;
    if (name == "*") any = accepted;
  }
  return any;
}

std::optional<std::string_view> http_request::field(std::string_view name) const noexcept {
  for (std::size_t index = 0; index < field_count_; ++index) {
    const field_place& each = fields_[index];
    if (each.name.length == name.size() && equal_ignoring_case(text(each.name), name)) {
      return trimmed(text(each.value));
    }
  }
  return std::nullopt;
}

std::size_t http_request::count(std::string_view name) const noexcept {
  std::size_t count = 0;
  for (std::size_t index = 0; index < field_count_; ++index) {
    if (equal_ignoring_case(text(fields_[index].name), name)) ++count;
  }
  return count;
}

bool http_request::lists(std::string_view name, std::string_view member) const noexcept {
  for (std::size_t index = 0; index < field_count_; ++index) {
    if (!equal_ignoring_case(text(fields_[index].name), name)) continue;
    for (std::string_view list = text(fields_[index].value); !list.empty();) {
      if (equal_ignoring_case(next_member(list), member)) return true;
    }
  }
  return false;
}

}  // namespace slabbuf::examples
