// SPDX-License-Identifier: MIT
#include "files/directory_page.hpp"

#include "files/request_path.hpp"

#include <fmt/format.h>

namespace slabbuf::examples {
namespace {

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char each : text) {
    switch (each) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += each;
    }
  }
  return safe;
}

}  // namespace

std::string directory_page(const directory_listing& listing) {
  const std::string title = escaped(listing.path);
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title></head>\n<body><h1>{0}</h1>\n<ul>\n",
      title);
  if (listing.path != "/") page += "<li><a href=\"../\">../</a></li>\n";
  for (const directory_entry& each : listing.entries) {
    const char* const slash = each.is_directory ? "/" : "";
    // "./" keeps a name with a colon from being a scheme.
    page += fmt::format("<li><a href=\"./{}{}\">{}{}</a></li>\n", escaped(encode_path(each.name)), slash,
                        escaped(each.name), slash);
  }
  page += "</ul></body></html>\n";
  return page;
}

std::string_view directory_page_policy() noexcept { return "default-src 'none'"; }

}  // namespace slabbuf::examples
