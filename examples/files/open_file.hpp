// SPDX-License-Identifier: MIT
// An open file of the root, with all that answers say of it: made once, used by every request until the file changes.
// Threads: any; immutable.
// Lifetime: shared by caches and answers.
#pragma once

#include "http/http_date.hpp"
#include "http/http_file.hpp"

#include <sys/stat.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// Which file it is, and which state of it. Whatever changes the bytes changes this: the time of change cannot be set.
struct file_identity {
  ::dev_t device = 0;
  ::ino_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;

  static file_identity of(const struct ::stat& status) noexcept;
  // NOLINTNEXTLINE(modernize-use-nullptr): there is no pointer; the linter means what the compiler writes
  auto operator<=>(const file_identity&) const = default;
};

/// "1f4-17c9a3b2e5d1f000-92c8e00b7d1f4a11", in quotes: a strong validator (RFC 9110, 8.8.3) of size, both times and
/// which file it is.
std::string entity_tag(const file_identity& identity);

/// Of a file that is sent instead of `plain`, which it is the compressed form of: another one whenever either changes.
std::string compressed_entity_tag(const file_identity& compressed, const file_identity& plain);

/// Whether `compressed`, which lies beside `plain`, can be what that is now: it is not older.
inline bool is_compressed_form(const file_identity& compressed, const file_identity& plain) noexcept {
  return compressed.modified_ns >= plain.modified_ns;
}

class open_file : public http_file {
 public:
  /// `path` is where it is, beneath the root; `status` the descriptor's. Throws std::bad_alloc.
  open_file(std::string path, unique_descriptor descriptor, const struct ::stat& status);

  std::string_view name() const noexcept override { return path_; }

  const file_identity& identity() const noexcept { return identity_; }
  std::uint64_t size() const noexcept { return identity_.size; }
  std::time_t modified() const noexcept { return modified_; }
  std::string_view last_modified() const noexcept { return text_of(last_modified_); }
  std::string_view tag() const noexcept { return tag_; }
  bool is_directory() const noexcept { return is_directory_; }

 private:
  std::string path_;
  file_identity identity_;
  std::time_t modified_;
  http_date last_modified_;
  std::string tag_;
  bool is_directory_;
};

}  // namespace slabbuf::examples
