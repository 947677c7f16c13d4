// SPDX-License-Identifier: MIT
#include "files/byte_ranges.hpp"

#include "http/http_request.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace slabbuf::examples {
namespace {

// All of `text`, in digits alone. Larger than any number there is: the largest (RFC 9110, 14.1.2).
std::optional<std::uint64_t> parse_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || rest != end) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::numeric_limits<std::uint64_t>::max();
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

bool skip_unit(std::string_view& field, char separator) noexcept {
  static constexpr std::string_view unit = "bytes";
  if (field.size() <= unit.size() || !equal_ignoring_case(field.substr(0, unit.size()), unit)) return false;
  if (field[unit.size()] != separator) return false;
  field.remove_prefix(unit.size() + 1);
  return true;
}

}  // namespace

byte_ranges parse_ranges(std::string_view field, std::uint64_t size) {
  if (!skip_unit(field, '=')) return {};
  byte_ranges found;
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  while (!field.empty()) {
    const std::string_view spec = next_member(field);
    if (spec.empty()) continue;
    if (++count > byte_ranges_max) return {};
    const std::size_t dash = spec.find('-');
    if (dash == std::string_view::npos) return {};
    const auto first = parse_number(spec.substr(0, dash));
    const auto last = parse_number(spec.substr(dash + 1));
    byte_range range;
    if (dash == 0) {  // the last so many bytes
      if (!last) return {};
      range.count = std::min(*last, size);
      range.offset = size - range.count;
    } else {
      if (!first || (!last && dash + 1 != spec.size()) || (last && *last < *first)) return {};
      if (*first >= size) continue;
      range.offset = *first;
      range.count = std::min(last.value_or(size - 1), size - 1) - *first + 1;
    }
    if (range.count == 0) continue;
    bytes += range.count;
    if (bytes > size) return {};
    found.ranges.push_back(range);
  }
  if (count == 0) return {};
  found.what = found.ranges.empty() ? byte_ranges::kind::unsatisfiable : byte_ranges::kind::some;
  return found;
}

std::optional<content_range> parse_content_range(std::string_view field) {
  if (!skip_unit(field, ' ')) return std::nullopt;
  const std::size_t slash = field.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto total = parse_number(field.substr(slash + 1));
  if (!total) return std::nullopt;
  content_range found{std::nullopt, *total};
  const std::string_view part = field.substr(0, slash);
  if (part == "*") return found;
  const std::size_t dash = part.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_number(part.substr(0, dash));
  const auto last = parse_number(part.substr(dash + 1));
  if (!first || !last || *last < *first || *last >= *total) return std::nullopt;
  found.part = byte_range{*first, *last - *first + 1};
  return found;
}

}  // namespace slabbuf::examples
