// SPDX-License-Identifier: MIT
// Where uploads end: one at a time becomes a file, and only if what is there is what the client expects. Keeps what has
// arrived of uploads that are to be resumed.
// Threads: any; waits for the disk.
// Lifetime: the root must outlive it. What it keeps dies with it.
#pragma once

#include "files/root_directory.hpp"
#include "files/temporary_file.hpp"
#include "http/digest.hpp"
#include "http/http_request.hpp"

#include <sys/types.h>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace slabbuf::examples {

/// Of If-Match and the like: copies, as the request's own are gone once its body is read.
struct upload_conditions {
  std::optional<std::string> if_match;
  std::optional<std::string> if_none_match;
  std::optional<std::string> if_unmodified_since;

  static upload_conditions of(const http_request& request);
};

/// What an upload is answered.
struct upload_result {
  int status = 0;
  std::string why;  // for people, of errors
  std::string tag;  // of the new file
};

/// What a failure of the system is answered: 507 for a full disk, 503 for want of descriptors or memory, 403, or 500
/// and the log says more.
upload_result result_of(const std::system_error& fault);

/// What has arrived of an upload.
struct partial_upload {
  temporary_file file;
  sha256_hash hash;
};

/// Whose parts belong together: those that say what the whole will be (Repr-Digest), or that say nothing and come from
/// one address. Clients that come through one proxy have one address: only a digest tells them apart for certain.
struct upload_key {
  std::string path;
  std::uint64_t total = 0;
  std::string origin;  // the digest, or the address

  // NOLINTNEXTLINE(modernize-use-nullptr): there is no pointer; the linter means what the compiler writes
  auto operator<=>(const upload_key&) const = default;
};

class upload_store {
 public:
  explicit upload_store(const root_directory& root) : root_(root) {}

  /// Where `path` is to be: its directory and its name in there. A status of 0, or why it cannot be written.
  struct place {
    unique_descriptor directory;
    std::string name;
    std::optional<struct ::stat> replaced;  // the file that is there
  };
  upload_result find_place(const std::string& path, place& found) const;

  /// 0, or 412. Throws std::system_error when it cannot be known. Without conditions it looks at nothing, and what is
  /// there under the name itself is known without a descriptor.
  int check(int directory, const std::string& name, const std::string& path, const upload_conditions& conditions) const;

  /// Makes it the file of this path: 201 or 204; 412 when that is not what the conditions say any more; 500 when it is
  /// in place, but not known to be on the disk. Throws std::system_error: then it is not.
  upload_result commit(temporary_file& file, const std::string& path, const std::string& name,
                       const upload_conditions& conditions);

  /// 204, 404, 409, 412; 500 when it is gone, but not known to be on the disk. Throws std::system_error: then it is
  /// not.
  upload_result remove(const std::string& path, const upload_conditions& conditions);

  /// Keeps what has arrived of an upload; the one that was used least recently goes when there are too many.
  void keep(const upload_key& key, partial_upload partial);
  /// Takes it out again: one client at a time goes on with it.
  std::optional<partial_upload> take(const upload_key& key);
  /// How many bytes of it are here.
  std::uint64_t kept_bytes(const upload_key& key) const;
  /// Drops what nobody went on with for kept_time.
  void sweep();

  static constexpr std::size_t kept_max = 64;
  static constexpr std::chrono::hours kept_time{1};

 private:
  struct kept {
    partial_upload partial;
    std::chrono::steady_clock::time_point since;
  };

  const root_directory& root_;
  std::mutex commit_mutex_;        // between looking at a file and replacing it
  mutable std::mutex kept_mutex_;  // guards kept_
  std::map<upload_key, kept> kept_;
};

}  // namespace slabbuf::examples
