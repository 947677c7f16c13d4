// SPDX-License-Identifier: MIT
#include "files/directory_page.hpp"

#include "common/command_line.hpp"
#include "directory_assets.hpp"
#include "files/request_path.hpp"
#include "http/digest.hpp"
#include "http/escape.hpp"
#include "http/http_date.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstddef>
#include <span>
#include <string>

namespace slabbuf::examples {
namespace {

// Puts `page` with each {{name}} replaced by what `put_value(name)` puts, which is not looked at again.
template <class PutValue>
void fill(std::string_view page, const text_sink& put, PutValue put_value) {
  for (;;) {
    const std::size_t open = page.find("{{");
    put(page.substr(0, open));
    if (open == std::string_view::npos) return;
    const std::size_t close = page.find("}}", open);
    put_value(page.substr(open + 2, close - open - 2));
    page.remove_prefix(close + 2);
  }
}

// "/a/b/" with a link for each directory above.
std::string crumbs(std::string_view path) {
  std::string links = "<a href=\"/\">/</a>";
  std::string_view rest = path.substr(1);
  std::string link = "/";
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    link += encode_path(name) + "/";
    links +=
        fmt::format("<a href=\"{}\">{}</a><span class=\"separator\">/</span>", escape_html(link), escape_html(name));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
  }
  return links;
}

std::string row(const directory_entry& entry) {
  const std::string name = escape_html(entry.name);
  const char* const slash = entry.is_directory ? "/" : "";
  // "./" keeps a name with a colon from being a scheme.
  return fmt::format(
      "<tr class=\"{}\" data-name=\"{}\" data-directory=\"{}\" data-bytes=\"{}\" data-modified=\"{}\">"
      "<td class=\"name\"><a href=\"./{}{}\">{}{}</a></td><td class=\"number\">{}</td>"
      "<td class=\"number modified\">{:%Y-%m-%d %H:%M}</td><td class=\"action\"></td></tr>\n",
      entry.is_directory ? "directory" : "file", name, entry.is_directory ? 1 : 0, entry.is_directory ? 0 : entry.bytes,
      entry.modified_s, escape_html(encode_path(entry.name)), slash, name, slash,
      entry.is_directory ? "\u2013" : format_size(entry.bytes), utc_of(entry.modified_s));
}

std::string summary(const directory_listing& listing) {
  std::size_t directories = 0;
  std::uint64_t bytes = 0;
  for (const directory_entry& each : listing.entries) {
    each.is_directory ? void(++directories) : void(bytes += each.bytes);
  }
  const std::size_t files = listing.entries.size() - directories;
  return fmt::format("{} {}, {} {}, {}", directories, directories == 1 ? "directory" : "directories", files,
                     files == 1 ? "file" : "files", format_size(bytes));
}

void put_rows(const directory_listing& listing, const text_sink& put) {
  if (listing.path != "/") {
    put("<tr class=\"directory\"><td class=\"name\"><a href=\"../\">..</a></td><td class=\"number\">\u2013</td>"
        "<td class=\"number modified\"></td><td class=\"action\"></td></tr>\n");
  }
  for (const directory_entry& each : listing.entries) put(row(each));
  if (listing.entries.empty()) put("<tr class=\"empty\"><td colspan=\"4\">Nothing is here.</td></tr>\n");
}

std::string hash_source(std::string_view text) {
  sha256_hash hash;
  hash.update(std::as_bytes(std::span(text)));
  // "sha-256=:BASE64:" as it stands in a field; a policy writes it 'sha256-BASE64'.
  const std::string field = digest_field(hash.finish());
  const std::size_t first = field.find(':') + 1;
  return fmt::format("'sha256-{}'", field.substr(first, field.size() - first - 1));
}

}  // namespace

void directory_page(const directory_listing& listing, const text_sink& put) {
  fill(asset::directory_html, put, [&](std::string_view name) {
    if (name == "title") put(escape_html(listing.path));
    if (name == "style") put(asset::directory_css);
    if (name == "writable") put(listing.writable ? "true" : "false");
    if (name == "crumbs") put(crumbs(listing.path));
    if (name == "summary") put(summary(listing));
    if (name == "rows") put_rows(listing, put);
    if (name == "note" && listing.cut)
      put(fmt::format("<p class=\"note\">Only the first {} entries are shown.</p>\n", listing.entries.size()));
    if (name == "script") put(asset::directory_js);
  });
}

std::string_view directory_page_policy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'",
      hash_source(asset::directory_js), hash_source(asset::directory_css));
  return policy;
}

}  // namespace slabbuf::examples
