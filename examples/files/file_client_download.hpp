// SPDX-License-Identifier: MIT
// file_client get: one or several connections fetch the ranges of a file that are missing, into a partial file that
// takes the target's place when it is complete and has the digest the server has told.
// Threads: the one that runs the io_context.
// Lifetime: until its end is told; operations that are still under way then do nothing.
//
//     [HEAD: size, ETag]  with several connections, to know what to divide
//     GET, Range of what is missing, If-Range ETag    on each connection, again and again until nothing is missing
//        206  the bytes go where they belong
//        200  another file by now, or a server without ranges: everything from the start, on this connection alone
//     digest of what is on the disk --> rename
#pragma once

#include "files/file_client_partial.hpp"
#include "files/file_client_transfer.hpp"
#include "http/digest.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace slabbuf::examples {

class download final : public transfer {
 public:
  /// Throws std::system_error when nothing can be written beside `target`.
  download(client_setup& setup, http_url url, const std::filesystem::path& target, progress_display& display,
           end_handler on_end);
  ~download() override;

  void start() override;

 private:
  class fetch;
  enum class verdict {
    accept,  // the body belongs at the first byte that is missing
    ignore,  // the body is of no interest
  };

  // By its connections.
  client_request request_for(const fetch& by) const;
  verdict judge(const response_head& head, fetch& by);
  verdict judge_probe(const response_head& head, fetch& by);
  verdict accept_part(const response_head& head, fetch& by);
  verdict accept_whole(const response_head& head, fetch& by);
  void on_fetched(fetch& by);
  void on_body_complete(fetch& by);
  void on_failed(fetch& by, const exchange_end& how);

  void divide_and_fetch();
  void start_over(fetch& kept);
  void retry(fetch& by, const transfer_end& otherwise);
  void refuse(const std::string& why);
  bool learn(const response_head& head);
  bool can_resume() const noexcept { return !etag_.empty() && size_.has_value(); }
  std::uint64_t missing_bytes() const noexcept;
  std::uint64_t done_bytes() const noexcept;
  void verify();
  void complete();
  void save_note() const;

  std::string stop(const transfer_end& how) override;
  void on_tick() override;

  partial_file file_;
  const std::filesystem::path target_;
  std::optional<std::uint64_t> size_;
  std::string etag_;  // strong, else empty
  std::optional<sha256> digest_;
  std::vector<std::unique_ptr<fetch>> fetches_;
  std::vector<byte_range> waiting_;              // missing, too, and nobody fetches it yet
  std::vector<std::unique_ptr<fetch>> retired_;  // stopped, and may yet hear of their timers
  bool contradicted_ = false;                    // by the server: what was kept is of no use
  std::size_t starts_over_ = 0;
  std::uint64_t resumed_bytes_ = 0;  // of an earlier run
  std::uint64_t noted_bytes_ = 0;    // done, when the note was last saved
  std::size_t ticks_ = 0;
  std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
  sha256_hash hash_;  // of what is on the disk, at the end
  std::uint64_t hashed_bytes_ = 0;
};

}  // namespace slabbuf::examples
