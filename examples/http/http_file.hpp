// SPDX-License-Identifier: MIT
// An open regular file that answers are read from.
// Threads: any: what changes is atomic, and reads name their offset.
// Lifetime: shared by the answers under way; closed when the last one ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf::examples {

/// Owns a descriptor.
class unique_descriptor {
 public:
  unique_descriptor() noexcept = default;
  explicit unique_descriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  unique_descriptor(unique_descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  unique_descriptor& operator=(unique_descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~unique_descriptor() { reset(); }

  int get() const noexcept { return descriptor_; }
  explicit operator bool() const noexcept { return descriptor_ >= 0; }
  void reset() noexcept;

 private:
  int descriptor_ = -1;
};

class http_file {
 public:
  /// What is_warm() remembers something of, when it is asked for one as a whole.
  static constexpr std::uint64_t part_bytes = std::uint64_t{2} << 20;

  /// Of so many bytes, if that is known. Throws std::bad_alloc.
  explicit http_file(unique_descriptor descriptor, std::uint64_t size = 0);
  http_file(const http_file&) = delete;
  http_file& operator=(const http_file&) = delete;
  virtual ~http_file() = default;

  int descriptor() const noexcept { return descriptor_.get(); }

  /// For the log.
  virtual std::string_view name() const noexcept { return "a file"; }

  enum class read_status : std::uint8_t { all, cold, ended, failed };

  /// Reads all of `into` from `offset` on without waiting for a disk: all; cold when some of it is not in memory;
  /// ended when the file has not so many bytes (any more); failed, see errno.
  read_status read_now(std::span<std::byte> into, std::uint64_t offset) const noexcept;

  /// The same, waiting as long as it takes: not on a thread that serves connections.
  read_status read(std::span<std::byte> into, std::uint64_t offset) const noexcept;

  /// Whether these bytes seem to be in memory, so that sendfile(2) does not wait. Probes the first of each 512 KiB, and
  /// the last: what the system has read of a file, and what it takes back, begins or ends somewhere rather than to have
  /// holes. Where the system cannot say, they never seem to: what has been warmed is to
  /// be sent without asking again. A part that was in memory counts as still there for a quarter of a second: the
  /// system takes back first what nobody has used for longest, and a file that many ask for is not probed for each of
  /// them.
  bool is_warm(std::uint64_t offset, std::uint64_t count) const noexcept;

  /// Brings these bytes into memory, waiting as long as it takes.
  void warm(std::uint64_t offset, std::uint64_t count) const noexcept;

 protected:
  /// preadv2(2) with RWF_NOWAIT, which file systems may not have: -1 and EOPNOTSUPP. A seam for tests.
  virtual std::ptrdiff_t read_without_waiting(std::span<std::byte> into, std::uint64_t offset) const noexcept;

  /// Milliseconds on a clock that does not go back. A seam for tests.
  virtual std::uint32_t now_ms() const noexcept;

 private:
  // Learnt from the first read.
  enum class probing : std::uint8_t {
    works,
    needless,    // the file system is memory itself
    impossible,  // it cannot say what is in memory: everything counts as cold
  };

  bool probe(std::uint64_t offset, std::uint64_t count) const noexcept;

  unique_descriptor descriptor_;
  const std::uint64_t size_;
  mutable std::atomic<probing> probing_{probing::works};
  // When the parts were last found in memory, 0 if never. Relaxed: a time says all there is to know.
  mutable std::vector<std::atomic<std::uint32_t>> warm_at_ms_;
};

}  // namespace slabbuf::examples
