// SPDX-License-Identifier: MIT
#include "files/open_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace slabbuf::examples {
namespace {

// Until the year 2262; later times are that one.
std::int64_t nanoseconds(const ::timespec& time) noexcept {
  constexpr std::int64_t second = 1'000'000'000;
  constexpr std::int64_t seconds_max = std::numeric_limits<std::int64_t>::max() / second - 1;
  return std::clamp<std::int64_t>(time.tv_sec, -seconds_max, seconds_max) * second + time.tv_nsec;
}

// Steele, Lea and Flood's splitmix64: a bijection.
constexpr std::uint64_t mixed(std::uint64_t word) noexcept {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  return word ^ (word >> 31);
}

// Which file it is, because two that replace each other may have been written within one tick of the clock. Mixed
// with its time of change, because nobody outside needs to know the number itself.
std::uint64_t which(const file_identity& identity) noexcept {
  return mixed(identity.inode ^ mixed(static_cast<std::uint64_t>(identity.changed_ns)));
}

}  // namespace

file_identity file_identity::of(const struct ::stat& status) noexcept {
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

std::string entity_tag(const file_identity& identity) {
  return fmt::format("\"{:x}-{:x}-{:x}\"", identity.size, static_cast<std::uint64_t>(identity.modified_ns),
                     which(identity));
}

std::string compressed_entity_tag(const file_identity& compressed, const file_identity& plain) {
  const std::string tag = entity_tag(compressed);
  return fmt::format("{}-{:x}-gz\"", std::string_view(tag).substr(0, tag.size() - 1), which(plain));
}

open_file::open_file(std::string path, unique_descriptor descriptor, const struct ::stat& status)
    : http_file(std::move(descriptor), S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0),
      path_(std::move(path)),
      identity_(file_identity::of(status)),
      modified_(status.st_mtim.tv_sec),
      last_modified_(format_http_date(modified_)),
      tag_(entity_tag(identity_)),
      is_directory_(S_ISDIR(status.st_mode)) {}

}  // namespace slabbuf::examples
