// SPDX-License-Identifier: MIT
// Which bytes a Range field asks for (RFC 9110, 14), and which a Content-Range field brings.
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace slabbuf::examples {

struct byte_range {
  std::uint64_t offset = 0;
  std::uint64_t count = 0;

  bool operator==(const byte_range&) const = default;
};

/// More ranges than these in one request are answered with all of the file.
inline constexpr std::size_t byte_ranges_max = 32;

struct byte_ranges {
  enum class kind : std::uint8_t {
    all,            // no ranges, or none that this server looks at: all of the file
    some,           // see `ranges`, at least one
    unsatisfiable,  // none of them is in the file: 416
  };
  kind what = kind::all;
  std::vector<byte_range> ranges;
};

/// Of "bytes=0-99, -5, 1000-" and a file of `size` bytes. Ranges that are not in the file are left out. What cannot be
/// parsed, has another unit, has too many ranges or asks for more bytes than there are (ranges that overlap) means all.
byte_ranges parse_ranges(std::string_view field, std::uint64_t size);

/// Of "bytes 0-99/1000" or "bytes */1000".
struct content_range {
  std::optional<byte_range> part;  // none: "*"
  std::uint64_t total = 0;
};
std::optional<content_range> parse_content_range(std::string_view field);

}  // namespace slabbuf::examples
