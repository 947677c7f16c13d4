// SPDX-License-Identifier: MIT
// file_client put: a file, its digest in the head, sent in one request; what is left of it in another one, after the
// connection broke.
// Threads: the one that runs the io_context.
// Lifetime: until its end is told; operations that are still under way then do nothing.
//
//     digest --> PUT, Repr-Digest, Content-Range: bytes 0-LAST/SIZE --> 201, 204
//                connection broke:  PUT, Content-Range: bytes */SIZE  --> 202, Upload-Offset: N
//                                   PUT, Content-Range: bytes N-LAST/SIZE ...
//                409, Upload-Offset: N   the server has that many bytes
//                400, 501                a server without parts: all of it, without Content-Range, and again from the
//                start
//                                        whenever the connection breaks
#pragma once

#include "files/file_client_transfer.hpp"
#include "http/digest.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace slabbuf::examples {

class upload final : public transfer, private client_exchange {
 public:
  /// Throws std::system_error when `source` cannot be read, or is no file.
  upload(client_setup& setup, const std::filesystem::path& source, http_url url, progress_display& display,
         end_handler on_end);
  ~upload() override;

  void start() override;

 private:
  void hash();
  void send();
  void retry(const transfer_end& otherwise);
  void go_on_at(const response_head& head);
  void send_without_parts();

  void on_interim(int) noexcept override {}
  void on_head(const response_head& head) noexcept override { head_ = head; }
  void on_body(std::span<const std::byte> bytes) noexcept override;
  buffer next_body_bytes(std::size_t bytes_max) noexcept override;
  void on_end(const exchange_end& how) override;
  void on_answer(const response_head& head);
  std::string what_it_says(const response_head& head) const;

  std::string stop(const transfer_end& how) override;
  void on_tick() override;

  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::shared_ptr<client_connection> connection_;
  steady_timer timer_;
  retry_policy retries_;
  std::optional<response_head> head_;
  std::array<char, 160> told_{};  // the beginning of what a refusal says to people
  std::size_t told_bytes_ = 0;
  sha256_hash hash_;
  sha256 digest_{};
  std::uint64_t hashed_bytes_ = 0;
  bool in_parts_ = true;               // the server may know Content-Range
  bool asks_first_ = true;             // Expect: 100-continue
  bool asks_ = false;                  // how far it has got, instead of sending
  std::uint64_t offset_ = 0;           // of the next byte to send
  std::uint64_t confirmed_ = 0;        // the server has said it has so many
  std::size_t misunderstandings_ = 0;  // answers that are no progress
  std::chrono::steady_clock::time_point started_at_{};
};

}  // namespace slabbuf::examples
