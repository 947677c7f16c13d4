// SPDX-License-Identifier: MIT
// One PUT: its bytes go to a temporary file as they come, and that becomes the file when the last one is there.
// Threads: that of its connection; what waits for the disk is done by blocking threads, one thing at a time.
// Lifetime: owned by its exchange.
#pragma once

#include "files/byte_ranges.hpp"
#include "files/upload_store.hpp"
#include "http/digest.hpp"
#include "http/http_exchange.hpp"

#include <asio/ip/address.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace slabbuf::examples {

struct upload_limits {
  bool writable = false;
  std::uint64_t bytes_max = std::uint64_t{1} << 40;
};

/// Answers a PUT to `path`, decoded.
void receive_upload(http_exchange_ptr exchange, upload_store& store, const upload_limits& limits,
                    const std::string& path);

class upload final : public http_body_reader {
 public:
  void on_body(http_exchange_ptr exchange, asio::error_code ec, buffer piece, bool last) override;

 private:
  friend void receive_upload(http_exchange_ptr exchange, upload_store& store, const upload_limits& limits,
                             const std::string& path);

  upload(upload_store& store, const upload_limits& limits, std::string path, const http_exchange& exchange)
      : store_(store),
        limits_(limits),
        path_(std::move(path)),
        peer_(exchange.peer()),
        conditions_(upload_conditions::of(exchange.request())) {}

  upload_result parse(const http_request& request);
  upload_result open();
  upload_result write(const buffer& piece, bool last);
  upload_result finish();
  upload_result on_error(asio::error_code ec);
  upload_key key() const;
  static void answer(http_exchange_ptr exchange, upload& self, const upload_result& result);

  upload_store& store_;
  const upload_limits& limits_;
  const std::string path_;
  const asio::ip::address peer_;
  const upload_conditions conditions_;
  std::string name_;                    // of the file, in its directory
  std::optional<content_range> range_;  // of Content-Range
  std::optional<sha256> digest_;        // what the client says it will be
  std::optional<partial_upload> partial_;
  bool kept_ = false;         // what has arrived, to be gone on with
  std::uint64_t offset_ = 0;  // how much of a resumable upload is here, for the answer
};

}  // namespace slabbuf::examples
