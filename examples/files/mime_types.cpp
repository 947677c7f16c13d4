// SPDX-License-Identifier: MIT
#include "files/mime_types.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace slabbuf::examples {
namespace {

struct entry {
  std::string_view extension;
  media_type type;
};

// In the order of extensions.
constexpr std::array table{
    entry{"7z", {"application/x-7z-compressed", true}},
    entry{"aac", {"audio/aac", true}},
    entry{"atom", {"application/atom+xml", false}},
    entry{"avif", {"image/avif", true}},
    entry{"bmp", {"image/bmp", false}},
    entry{"bz2", {"application/x-bzip2", true}},
    entry{"c", {"text/plain; charset=utf-8", false}},
    entry{"cpp", {"text/plain; charset=utf-8", false}},
    entry{"css", {"text/css; charset=utf-8", false}},
    entry{"csv", {"text/csv; charset=utf-8", false}},
    entry{"deb", {"application/vnd.debian.binary-package", true}},
    entry{"epub", {"application/epub+zip", true}},
    entry{"flac", {"audio/flac", true}},
    entry{"gif", {"image/gif", true}},
    entry{"gz", {"application/gzip", true}},
    entry{"h", {"text/plain; charset=utf-8", false}},
    entry{"hpp", {"text/plain; charset=utf-8", false}},
    entry{"htm", {"text/html; charset=utf-8", false}},
    entry{"html", {"text/html; charset=utf-8", false}},
    entry{"ico", {"image/x-icon", false}},
    entry{"iso", {"application/x-iso9660-image", false}},
    entry{"jpeg", {"image/jpeg", true}},
    entry{"jpg", {"image/jpeg", true}},
    entry{"js", {"text/javascript; charset=utf-8", false}},
    entry{"json", {"application/json", false}},
    entry{"log", {"text/plain; charset=utf-8", false}},
    entry{"m4a", {"audio/mp4", true}},
    entry{"md", {"text/markdown; charset=utf-8", false}},
    entry{"mjs", {"text/javascript; charset=utf-8", false}},
    entry{"mkv", {"video/x-matroska", true}},
    entry{"mov", {"video/quicktime", true}},
    entry{"mp3", {"audio/mpeg", true}},
    entry{"mp4", {"video/mp4", true}},
    entry{"mpeg", {"video/mpeg", true}},
    entry{"ogg", {"audio/ogg", true}},
    entry{"ogv", {"video/ogg", true}},
    entry{"opus", {"audio/ogg", true}},
    entry{"otf", {"font/otf", false}},
    entry{"pdf", {"application/pdf", false}},
    entry{"png", {"image/png", true}},
    entry{"py", {"text/plain; charset=utf-8", false}},
    entry{"rss", {"application/rss+xml", false}},
    entry{"rtf", {"application/rtf", false}},
    entry{"sh", {"text/plain; charset=utf-8", false}},
    entry{"svg", {"image/svg+xml", false}},
    entry{"tar", {"application/x-tar", false}},
    entry{"tgz", {"application/gzip", true}},
    entry{"tif", {"image/tiff", false}},
    entry{"tiff", {"image/tiff", false}},
    entry{"toml", {"application/toml", false}},
    entry{"ttf", {"font/ttf", false}},
    entry{"txt", {"text/plain; charset=utf-8", false}},
    entry{"wasm", {"application/wasm", false}},
    entry{"wav", {"audio/wav", false}},
    entry{"webm", {"video/webm", true}},
    entry{"webmanifest", {"application/manifest+json", false}},
    entry{"webp", {"image/webp", true}},
    entry{"woff", {"font/woff", true}},
    entry{"woff2", {"font/woff2", true}},
    entry{"xhtml", {"application/xhtml+xml", false}},
    entry{"xml", {"application/xml", false}},
    entry{"xz", {"application/x-xz", true}},
    entry{"yaml", {"application/yaml", false}},
    entry{"yml", {"application/yaml", false}},
    entry{"zip", {"application/zip", true}},
    entry{"zst", {"application/zstd", true}},
};

constexpr bool before(const entry& left, const entry& right) noexcept { return left.extension < right.extension; }
static_assert(std::is_sorted(table.begin(), table.end(), &before), "it is searched by halves");

constexpr media_type unknown{"application/octet-stream", false};

}  // namespace

media_type media_type_of(std::string_view path) noexcept {
  const std::size_t dot = path.find_last_of("./");
  if (dot == std::string_view::npos || path[dot] == '/') return unknown;
  std::array<char, 12> lower{};
  std::string_view extension = path.substr(dot + 1);
  if (extension.size() > lower.size()) return unknown;
  std::transform(extension.begin(), extension.end(), lower.begin(),
                 [](char each) { return each >= 'A' && each <= 'Z' ? static_cast<char>(each - 'A' + 'a') : each; });
  extension = {lower.data(), extension.size()};
  const auto* const found =
      std::lower_bound(table.begin(), table.end(), extension,
                       [](const entry& each, std::string_view name) { return each.extension < name; });
  return found != table.end() && found->extension == extension ? found->type : unknown;
}

}  // namespace slabbuf::examples
