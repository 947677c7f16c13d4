// SPDX-License-Identifier: MIT
#include "files/upload.hpp"

#include "files/file_access.hpp"
#include "http/blocking_threads.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <asio/error.hpp>

#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
void receive_upload(http_exchange_ptr exchange, upload_store& store, const upload_limits& limits,
                    const std::string& path) {
  std::unique_ptr<upload> made(new upload(store, limits, path, *exchange));
  upload& self = *made;
  if (upload_result fault = self.parse(exchange->request()); fault.status != 0) {
    if (fault.status == 415) exchange->response().add("Accept-Encoding", "identity");
    return http_exchange::respond(std::move(exchange), fault.status, fault.why);
  }
  exchange->body_reader() = std::move(made);
  blocking_threads& threads = exchange->threads();
  asio::io_context& home = exchange->context();
  threads.run(
      home, [&self] { return self.open(); },
      [&self, exchange = std::move(exchange)](const std::exception_ptr& thrown, const upload_result& fault) mutable {
        if (thrown) return http_exchange::respond(std::move(exchange), thrown);
        if (fault.status != 0) return upload::answer(std::move(exchange), self, fault);
        http_exchange::read_body(std::move(exchange));
      });
}

// What the head says. A status of 0, or what is wrong with it.
upload_result upload::parse(const http_request& request) {
  const auto length = request.content_length();
  if (length && *length > limits_.bytes_max) return {413, "uploads this large are not accepted", {}};
  // It would be kept without its coding, and be sent as something else (RFC 9110, 9.3.4).
  if (const auto coding = request.field("content-encoding");
      coding && (request.count("content-encoding") > 1 || !equal_ignoring_case(trimmed(*coding), "identity")))
    return {415, "uploads are taken without a Content-Encoding", {}};
  if (const auto field = request.field("repr-digest")) {
    if (request.count("repr-digest") > 1) return {400, "more than one line of Repr-Digest is not taken", {}};
    try {
      digest_ = parse_digest_field(*field);
    } catch (const std::invalid_argument& fault) {
      return {400, fmt::format("Repr-Digest: {}", fault.what()), {}};
    }
  }
  const auto field = request.field("content-range");
  if (!field) return {};
  if (request.count("content-range") > 1) return {400, "more than one line of Content-Range is not taken", {}};
  range_ = parse_content_range(*field);
  if (!range_) return {400, "this is no Content-Range", {}};
  if (range_->total > limits_.bytes_max) return {413, "uploads this large are not accepted", {}};
  if (!length || *length != (range_->part ? range_->part->count : 0))
    return {400, "Content-Length and Content-Range differ", {}};
  return {};
}

upload_key upload::key() const { return {path_, range_->total, digest_ ? digest_field(*digest_) : peer_.to_string()}; }

// On a blocking thread, as all that follows but for answer().
upload_result upload::open() try {
  upload_store::place place;
  if (upload_result fault = store_.find_place(path_, place); fault.status != 0) return fault;
  if (store_.check(place.directory.get(), place.name, path_, conditions_) != 0)
    return {412, "the file is not the one that is to be replaced", {}};
  name_ = std::move(place.name);
  if (range_) {
    offset_ = store_.kept_bytes(key());
    if (!range_->part) return {202, {}, {}};  // only asks how much is here
    if (range_->part->offset != 0) {
      if (range_->part->offset != offset_) return {409, "this is not where the upload goes on", {}};
      partial_ = store_.take(key());
      if (!partial_) return {409, "somebody else goes on with this upload", {}};
      return {};
    }
    store_.take(key());  // it begins anew
    offset_ = 0;
  }
  // Nobody reads of it who may not read what it replaces.
  partial_.emplace(
      partial_upload{temporary_file(std::move(place.directory), place.replaced ? private_mode : public_mode), {}});
  if (place.replaced) partial_->file.take_access_of(*place.replaced);
  return {};
} catch (const std::system_error& fault) {
  return result_of(fault);
} catch (const std::exception& fault) {
  spdlog::error("an upload failed: {}", fault.what());
  return {500, "the upload could not be kept", {}};
}

void upload::on_body(http_exchange_ptr exchange, asio::error_code ec, buffer piece, bool last) {
  blocking_threads& threads = exchange->threads();
  asio::io_context& home = exchange->context();
  threads.run(
      home,
      [this, ec, piece = std::move(piece), last]() mutable {
        upload_result result = ec ? on_error(ec) : write(piece, last);
        piece.release();
        return result;
      },
      [this, ec, exchange = std::move(exchange)](const std::exception_ptr& fault, const upload_result& result) mutable {
        // The connection is of no use any more.
        if (ec && ec != asio::error::timed_out && ec != asio::error::message_size && ec != asio::error::no_buffer_space)
          return;
        if (fault) return http_exchange::respond(std::move(exchange), fault);
        if (result.status != 0) return answer(std::move(exchange), *this, result);
        http_exchange::read_body(std::move(exchange));
      });
}

// The bytes end early: what has come of an upload that can be resumed is kept.
upload_result upload::on_error(asio::error_code ec) {
  if (range_ && partial_ && ec != asio::error::message_size) {
    try {
      offset_ = partial_->file.size();
      store_.keep(key(), std::move(*partial_));
      kept_ = true;
    } catch (const std::bad_alloc&) {
      spdlog::warn("out of memory: an upload cannot be resumed");
    }
  }
  partial_.reset();
  if (ec == asio::error::timed_out) return {408, "the body did not come in time", {}};
  if (ec == asio::error::no_buffer_space) return {503, "there was no memory for the body", {}};
  return {400, "the body is not what HTTP says it should be", {}};
}

upload_result upload::write(const buffer& piece, bool last) try {
  if (piece.size() > limits_.bytes_max - partial_->file.size()) {
    partial_.reset();
    return {413, "uploads this large are not accepted", {}};
  }
  partial_->hash.update({piece.data(), piece.size()});
  partial_->file.append({piece.data(), piece.size()});
  return last ? finish() : upload_result{};
} catch (const std::system_error& fault) {
  partial_.reset();
  return result_of(fault);
} catch (const std::exception& fault) {
  partial_.reset();
  spdlog::error("an upload failed: {}", fault.what());
  return {500, "the upload could not be kept", {}};
}

upload_result upload::finish() {
  offset_ = partial_->file.size();
  if (range_ && offset_ < range_->total) {
    store_.keep(key(), std::move(*partial_));
    partial_.reset();
    return {202, {}, {}};
  }
  partial_upload whole = std::move(*partial_);
  partial_.reset();
  offset_ = 0;  // where it goes on, should it not become a file now: nothing is kept of it
  if (digest_ && whole.hash.finish() != *digest_) return {400, "the digest of what came is another one", {}};
  return store_.commit(whole.file, path_, name_, conditions_);
}

void upload::answer(http_exchange_ptr exchange, upload& self, const upload_result& result) {
  http_response& answer = exchange->response();
  // Where it can go on; not of a path at which there can be no file.
  const bool at_another_offset = result.status == 409 && !self.name_.empty();
  const bool says_offset = self.range_ && (result.status == 202 || self.kept_ || at_another_offset);
  if (says_offset) answer.add("Upload-Offset", fmt::format_int(self.offset_).c_str());
  if (!result.tag.empty()) answer.add("ETag", result.tag);
  if (result.status >= 400) return http_exchange::respond(std::move(exchange), result.status, result.why);
  answer.status = result.status;
  http_exchange::respond(std::move(exchange));
}

}  // namespace slabbuf::examples
