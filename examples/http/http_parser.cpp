// SPDX-License-Identifier: MIT
#include "http/http_parser.hpp"

#include "http/http_host.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace slabbuf::examples {

// What llhttp calls. Anything but HPE_OK ends the execution.
struct http_parser::callbacks {
  static http_parser& of(llhttp_t* parser) noexcept { return *static_cast<http_parser*>(parser->data); }

  // Parts of one text are side by side in the head: the first one says where it begins. That fits: begin() sees to it.
  static void extend(http_parser& self, http_text_place& place, const char* at, std::size_t length) noexcept {
    if (place.length == 0) place.position = static_cast<std::uint16_t>(at - self.head_);
    place.length = static_cast<std::uint16_t>(place.length + length);
  }

  static int on_url(llhttp_t* parser, const char* at, std::size_t length) noexcept {
    http_parser& self = of(parser);
    extend(self, self.request_->target_, at, length);
    if (self.request_->target_.length <= self.target_bytes_max_) return HPE_OK;
    self.refuse(414, "the target is longer than this server takes");
    return HPE_USER;
  }
  static int on_header_field(llhttp_t* parser, const char* at, std::size_t length) noexcept {
    http_parser& self = of(parser);
    http_request& request = *self.request_;
    if (self.in_value_) {
      if (request.field_count_ == http_request::fields_max) {
        self.refuse(431, "there are more header fields than this server takes");
        return HPE_USER;
      }
      request.fields_[request.field_count_++] = {};
      self.in_value_ = false;
    }
    extend(self, request.fields_[request.field_count_ - 1].name, at, length);
    return HPE_OK;
  }
  static int on_header_value(llhttp_t* parser, const char* at, std::size_t length) noexcept {
    http_parser& self = of(parser);
    if (self.in_value_ && self.value_ended_) {
      self.refuse(400, "a header field has no name");
      return HPE_USER;
    }
    self.in_value_ = true;
    self.value_ended_ = false;
    extend(self, self.request_->fields_[self.request_->field_count_ - 1].value, at, length);
    return HPE_OK;
  }
  // Also of a value without bytes.
  static int on_header_value_complete(llhttp_t* parser) noexcept {
    of(parser).in_value_ = true;
    of(parser).value_ended_ = true;
    return HPE_OK;
  }
  static int on_headers_complete(llhttp_t* parser) noexcept {
    of(parser).complete_ = true;
    return HPE_PAUSED;
  }

  static int on_body(llhttp_t* parser, const char* at, std::size_t length) noexcept {
    http_parser& self = of(parser);
    if (!self.check_framing(self.framing_from_, at)) return HPE_USER;
    self.framing_from_ = at + length;
    self.framing_before_ = 0;
    char* const to = self.decode_to_ + self.decoded_;
    if (to != at) std::memmove(to, at, length);
    self.decoded_ += length;
    return HPE_OK;
  }
  static int on_message_complete(llhttp_t* parser) noexcept {
    of(parser).complete_ = true;
    return HPE_PAUSED;
  }

  static const llhttp_settings_t* of_head() noexcept {
    static const llhttp_settings_t all = [] {
      llhttp_settings_t made;
      llhttp_settings_init(&made);
      made.on_url = &on_url;
      made.on_header_field = &on_header_field;
      made.on_header_value = &on_header_value;
      made.on_header_value_complete = &on_header_value_complete;
      made.on_headers_complete = &on_headers_complete;
      return made;
    }();
    return &all;
  }
  // Trailers are parsed, and forgotten.
  static const llhttp_settings_t* of_body() noexcept {
    static const llhttp_settings_t all = [] {
      llhttp_settings_t made;
      llhttp_settings_init(&made);
      made.on_body = &on_body;
      made.on_message_complete = &on_message_complete;
      return made;
    }();
    return &all;
  }
};

namespace {

http_method method_of(std::uint8_t method) noexcept {
  switch (method) {
    case HTTP_GET: return http_method::get;
    case HTTP_HEAD: return http_method::head;
    case HTTP_PUT: return http_method::put;
    case HTTP_DELETE: return http_method::remove;
    case HTTP_OPTIONS: return http_method::options;
    default: return http_method::other;
  }
}

}  // namespace

void http_parser::begin(http_request& request, std::size_t head_bytes_max, std::size_t target_bytes_max) noexcept {
  llhttp_init(&llhttp_, HTTP_REQUEST, callbacks::of_head());
  llhttp_.data = this;
  request_ = &request;
  request.target_ = {};
  request.field_count_ = 0;
  request.expects_continue_ = false;
  head_bytes_max_ = std::min(head_bytes_max, http_request::head_bytes_max);
  target_bytes_max_ = target_bytes_max;
  consumed_ = 0;
  status_ = 0;
  why_ = {};
  in_value_ = true;
  value_ended_ = true;
  complete_ = false;
  keeps_alive_ = false;
}

http_parser::progress http_parser::parse_head(const char* head, std::size_t from, std::size_t to) noexcept {
  head_ = head;
  request_->base_ = head;
  to = std::min(to, head_bytes_max_);
  const llhttp_errno_t error = llhttp_execute(&llhttp_, head + from, to - from);
  consumed_ = to;
  // Known before the rest: an answer to HEAD has no body, whatever it says.
  request_->method_ = method_of(llhttp_.method);
  if (error == HPE_OK) {
    return to == head_bytes_max_ ? refuse(431, "the header is longer than this server takes") : progress::more;
  }
  if (error != HPE_PAUSED || !complete_) return refuse_what_llhttp_does(error);
  consumed_ = static_cast<std::size_t>(llhttp_get_error_pos(&llhttp_) - head);
  return check_head();
}

// What HTTP asks for and llhttp leaves to others.
http_parser::progress http_parser::check_head() noexcept {
  http_request& request = *request_;
  request.minor_version_ = llhttp_.http_minor;
  request.chunked_ = (llhttp_.flags & F_CHUNKED) != 0;
  request.content_length_ = llhttp_.content_length;
  if (llhttp_.http_major != 1) return refuse(505, "this server speaks HTTP/1.1");
  if (!check_lines()) return progress::refused;
  // RFC 9112, 3.2: exactly one, and with HTTP/1.0 at most one.
  const std::size_t hosts = request.count("host");
  if (hosts > 1 || (hosts == 0 && request.minor_version_ != 0)) return refuse(400, "there must be one Host field");
  if (!is_host(request.field_or_empty("host"))) return refuse(400, "the Host field has what no host has");
  if (const auto coding = request.field("transfer-encoding")) {
    if (request.minor_version_ == 0) return refuse(400, "HTTP/1.0 has no transfer codings");
    if (!equal_ignoring_case(*coding, "chunked") || request.count("transfer-encoding") != 1)
      return refuse(501, "of the transfer codings, this server knows only chunked");
  }
  if (const auto expectation = request.field("expect"); expectation && request.minor_version_ != 0) {
    if (!equal_ignoring_case(*expectation, "100-continue") || request.count("expect") != 1)
      return refuse(417, "only 100-continue can be expected");
    request.expects_continue_ = request.has_body();
  }
  keeps_alive_ = llhttp_should_keep_alive(&llhttp_) != 0;
  return progress::complete;
}

// What llhttp lets pass: see RFC 9112, 2.2 (line ends: where two parsers see different ones, they see different
// requests), 3 (one blank, and HTTP), 5.1 (a name), 5.2 (a folded line is an attack today).
bool http_parser::check_lines() noexcept {
  const std::string_view head(head_, consumed_);
  const http_text_place target = request_->target_;
  std::string_view method = head.substr(0, target.position);
  while (method.substr(0, 2) == "\r\n") method.remove_prefix(2);  // empty lines before it
  if (method.find_first_of(" \r\n") != method.size() - 1 || method.back() != ' ' ||
      head.substr(target.position + target.length, 6) != " HTTP/") {
    refuse(400, "this is no request line");
    return false;
  }
  framing_before_ = 0;
  return check_framing(head_ + target.position + target.length, head_ + consumed_);
}

// Lines from here to there, and what was before them.
bool http_parser::check_framing(const char* from, const char* to) noexcept {
  for (const char* at = from; at < to;) {
    if (framing_before_ == '\n' && (*at == ' ' || *at == '\t' || *at == ':')) {
      refuse(400, *at == ':' ? "a header field has no name" : "a header field is folded");
      return false;
    }
    const auto* const end = static_cast<const char*>(std::memchr(at, '\n', static_cast<std::size_t>(to - at)));
    if (end != nullptr && (end == at ? framing_before_ : end[-1]) != '\r') {
      refuse(400, "a line does not end with CR and LF");
      return false;
    }
    framing_before_ = end != nullptr ? '\n' : to[-1];
    at = end != nullptr ? end + 1 : to;
  }
  return true;
}

http_parser::progress http_parser::decode_body(std::span<const char> bytes, char* to) noexcept {
  // The first time, it is after the head.
  if (llhttp_get_errno(&llhttp_) == HPE_PAUSED) {
    llhttp_resume(&llhttp_);
    llhttp_.settings = const_cast<void*>(static_cast<const void*>(callbacks::of_body()));
    complete_ = false;
    framing_before_ = 0;
  }
  framing_from_ = bytes.data();
  decode_to_ = to;
  decoded_ = 0;
  const llhttp_errno_t error = llhttp_execute(&llhttp_, bytes.data(), bytes.size());
  consumed_ = bytes.size();
  if (error != HPE_OK) {
    if (error != HPE_PAUSED || !complete_) return refuse_what_llhttp_does(error);
    consumed_ = static_cast<std::size_t>(llhttp_get_error_pos(&llhttp_) - bytes.data());
  }
  if (!check_framing(framing_from_, bytes.data() + consumed_)) return progress::refused;
  return error == HPE_OK ? progress::more : progress::complete;
}

http_parser::progress http_parser::refuse(int status, std::string_view why) noexcept {
  status_ = status;
  why_ = why;
  return progress::refused;
}

http_parser::progress http_parser::refuse_what_llhttp_does(llhttp_errno_t error) noexcept {
  switch (error) {
    case HPE_USER: return progress::refused;  // a callback has said why
    case HPE_INVALID_METHOD: return refuse(501, "no such method");
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE: return refuse(505, "this server speaks HTTP/1.1");
    default: {
      const char* const reason = llhttp_get_error_reason(&llhttp_);
      return refuse(400, reason != nullptr ? reason : "this is not HTTP");
    }
  }
}

}  // namespace slabbuf::examples
