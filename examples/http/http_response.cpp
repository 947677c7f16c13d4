// SPDX-License-Identifier: MIT
#include "http/http_response.hpp"

#include <utility>

namespace slabbuf::examples {

http_body::http_body(std::shared_ptr<const http_file> file, std::vector<piece> pieces) : file_(std::move(file)) {
  if (pieces.empty()) return;
  for (const piece& each : pieces) size_ += each.size();
  first_ = std::move(pieces.front());
  pieces.erase(pieces.begin());
  more_ = std::move(pieces);
}

void http_body::take(std::uint64_t count) noexcept {
  taken_ += count;
  piece_taken_ += count;
  while (taken_ != size_ && piece_taken_ == current().size()) {
    ++index_;
    piece_taken_ = 0;
  }
}

void http_response::add(std::string_view name, std::string_view value) {
  fields.append(name);
  fields.append(std::string_view(": "));
  fields.append(value);
  fields.append(std::string_view("\r\n"));
}

void http_response::say(int code, std::string_view why) {
  status = code;
  add("Content-Type", "text/plain; charset=utf-8");
  body = http_body(fmt::format("{} {}: {}\n", code, reason_of(code), why));
  blocks.clear();
}

std::string_view reason_of(int status) noexcept {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
  }
}

}  // namespace slabbuf::examples
