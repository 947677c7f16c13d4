// SPDX-License-Identifier: MIT
#include "http/response_parser.hpp"

#include <algorithm>
#include <cctype>

namespace slabbuf::examples {
namespace {

constexpr int switching_protocols = 101;

// What a response counts against the limit of the head, whatever is in it: interim ones must not come without end.
constexpr std::size_t status_line_bytes = 15;

}  // namespace

std::string_view response_head::find(std::string_view name) const noexcept {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const auto& each) { return each.first == name; });
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

struct response_parser::on {
  static response_parser& self(::llhttp_t* parser) { return *static_cast<response_parser*>(parser->data); }

  static int status(::llhttp_t* parser, const char* at, std::size_t count) {
    return self(parser).grow(self(parser).head_.reason, at, count) ? HPE_OK : HPE_USER;
  }
  static int field(::llhttp_t* parser, const char* at, std::size_t count) {
    response_parser& own = self(parser);
    if (own.begin_field() != HPE_OK) return HPE_USER;
    return own.grow(own.head_.fields.back().first, at, count) ? HPE_OK : HPE_USER;
  }
  static int value(::llhttp_t* parser, const char* at, std::size_t count) {
    response_parser& own = self(parser);
    own.in_value_ = true;
    // Trailers come behind the body, and nobody here wants any.
    if (own.head_.fields.empty()) return HPE_OK;
    return own.grow(own.head_.fields.back().second, at, count) ? HPE_OK : HPE_USER;
  }
  static int head(::llhttp_t* parser) { return self(parser).end_head(); }
  static int body(::llhttp_t* parser, const char* at, std::size_t count) {
    self(parser).handler_->on_body(std::as_bytes(std::span(at, count)));
    return HPE_OK;
  }
  static int complete(::llhttp_t* parser) { return self(parser).end_message(); }
};

response_parser::response_parser(const response_limits& limits) : limits_(limits) {
  ::llhttp_settings_init(&settings_);
  settings_.on_status = &on::status;
  settings_.on_header_field = &on::field;
  settings_.on_header_value = &on::value;
  settings_.on_headers_complete = &on::head;
  settings_.on_body = &on::body;
  settings_.on_message_complete = &on::complete;
  ::llhttp_init(&parser_, HTTP_RESPONSE, &settings_);
  parser_.data = this;
}

void response_parser::expect(bool answers_head) {
  ::llhttp_init(&parser_, HTTP_RESPONSE, &settings_);
  parser_.data = this;
  head_ = {};
  head_bytes_ = 0;
  answers_head_ = answers_head;
  in_value_ = true;
  keep_alive_ = false;
  state_ = state::head;
  failure_.clear();
}

std::size_t response_parser::feed(std::span<const std::byte> bytes, response_handler& handler) {
  if (state_ == state::complete || state_ == state::failed) return 0;
  handler_ = &handler;
  const char* const data = reinterpret_cast<const char*>(bytes.data());
  const ::llhttp_errno_t error = ::llhttp_execute(&parser_, data, bytes.size());
  handler_ = nullptr;
  if (error == HPE_OK) return bytes.size();
  if (state_ != state::complete) {
    state_ = state::failed;
    if (failure_.empty()) failure_ = ::llhttp_get_error_reason(&parser_);
  }
  return static_cast<std::size_t>(::llhttp_get_error_pos(&parser_) - data);
}

void response_parser::finish() {
  if (state_ == state::complete || state_ == state::failed) return;
  const bool ends_the_body = state_ == state::body && ::llhttp_message_needs_eof(&parser_) == 1 &&
                             ::llhttp_finish(&parser_) != HPE_INVALID_EOF_STATE;
  keep_alive_ = false;
  state_ = ends_the_body ? state::complete : state::failed;
  if (!ends_the_body) failure_ = "the connection ended before the response did";
}

bool response_parser::grow(std::string& text, const char* at, std::size_t count) {
  head_bytes_ += count;
  if (head_bytes_ > limits_.head_bytes_max) {
    failure_ = "the head of the response is larger than " + std::to_string(limits_.head_bytes_max) + " bytes";
    return false;
  }
  text.append(at, count);
  return true;
}

// A name may come in pieces; it is another one's when a value came before.
int response_parser::begin_field() {
  if (!in_value_) return HPE_OK;
  in_value_ = false;
  if (head_.fields.size() == limits_.fields_max) {
    failure_ = "the response has more than " + std::to_string(limits_.fields_max) + " header fields";
    return HPE_USER;
  }
  head_.fields.emplace_back();
  return HPE_OK;
}

// Its result tells llhttp what follows: 0 a body as the fields say, 1 none.
int response_parser::end_head() {
  head_.status = ::llhttp_get_status_code(&parser_);
  if (head_.status == switching_protocols) {
    failure_ = "the server switches to another protocol, unasked";
    return -1;
  }
  if (head_.status / 100 == 1) return grow(head_.reason, "", 0) ? 0 : -1;
  for (auto& [name, value] : head_.fields) {
    for (char& each : name) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  }
  if ((parser_.flags & F_CONTENT_LENGTH) != 0) head_.content_length = parser_.content_length;
  state_ = state::body;
  handler_->on_head(head_);
  return answers_head_ ? 1 : 0;
}

int response_parser::end_message() {
  if (head_.status / 100 == 1) {
    head_bytes_ += status_line_bytes;
    handler_->on_interim(head_.status);
    head_ = {};
    in_value_ = true;
    return HPE_OK;
  }
  keep_alive_ = ::llhttp_should_keep_alive(&parser_) == 1;
  state_ = state::complete;
  return HPE_PAUSED;  // what follows is no part of it
}

}  // namespace slabbuf::examples
