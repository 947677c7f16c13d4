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

// "0.5", in thousandths (RFC 9110, 12.4.2). What is no weight is 0.
unsigned thousandths(std::string_view weight) noexcept {
  if (weight.substr(0, 1) == "1") return 1000;
  unsigned value = 0;
  unsigned unit = 100;
  for (std::size_t at = 2; at < weight.size() && unit != 0; ++at, unit /= 10) {
    if (weight[at] >= '0' && weight[at] <= '9') value += static_cast<unsigned>(weight[at] - '0') * unit;
  }
  return value;
}

// A member of a list of what is accepted: "gzip; q=0.5". Without a weight it is 1.
struct weighted {
  std::string_view name;
  unsigned weight = 1000;

  explicit weighted(std::string_view member) noexcept : name(trimmed(member.substr(0, member.find(';')))) {
    for (std::size_t end = member.find(';'); end != std::string_view::npos; end = member.find(';')) {
      member.remove_prefix(end + 1);
      const std::string_view parameter = trimmed(member.substr(0, member.find(';')));
      if (equal_ignoring_case(parameter.substr(0, 2), "q=")) weight = thousandths(parameter.substr(2));
    }
  }
};

}  // namespace

std::string_view next_member(std::string_view& list) noexcept { return next_between_commas(list, true); }

std::string_view next_tag(std::string_view& list) noexcept { return next_between_commas(list, false); }

bool accepts_coding(std::string_view list, std::string_view coding) noexcept {
  bool any = false;
  while (!list.empty()) {
    const weighted member(next_member(list));
    const bool accepted = member.weight != 0;
    // RFC 9110, 8.4.1.3: x-gzip is gzip.
    if (equal_ignoring_case(member.name, coding) || (coding == "gzip" && equal_ignoring_case(member.name, "x-gzip")))
      return accepted;
    if (member.name == "*") any = accepted;
  }
  return any;
}

unsigned media_weight(std::string_view list, std::string_view type) noexcept {
  const std::string_view kind = type.substr(0, type.find('/') + 1);
  unsigned found = 0;
  int closeness = 0;  // of what has been found: 1 for "*/*", 2 for "type/*", 3
  while (!list.empty()) {
    const weighted member(next_member(list));
    int close = 0;
    if (equal_ignoring_case(member.name, type)) {
      close = 3;
    } else if (member.name.size() == kind.size() + 1 && member.name.back() == '*' &&
               equal_ignoring_case(member.name.substr(0, kind.size()), kind)) {
      close = 2;
    } else if (member.name == "*/*") {
      close = 1;
    }
    if (close <= closeness) continue;
    closeness = close;
    found = member.weight != 0 && close == 3 ? member.weight + 1 : member.weight;
  }
  return found;
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
