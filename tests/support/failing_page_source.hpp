// SPDX-License-Identifier: MIT
// The system's pages, with a record of every mapping and a refusal where a test wants one.
// Threads: every function from any thread. Allocates nothing, so that it can be used where the heap
// is watched or fails.
// Lifetime: as any page_source; when it dies, every mapping must have been given back.
#pragma once

#include <slabbuf/pool/page_source.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace slabbuf::support {

class failing_page_source final : public page_source {
 public:
  failing_page_source() = default;
  ~failing_page_source() override { expect_all_unmapped(); }

  void* map(std::size_t size, std::size_t alignment) noexcept override;
  void unmap(void* address, std::size_t size) noexcept override;
  bool purge(void* address, std::size_t size) noexcept override;

  /// The `nth` map() from now on (1 is the next one) is refused, the others are not.
  void fail_map(std::uint64_t nth) noexcept { fail_maps(nth, nth); }
  /// The `nth` map() from now on and all after it are refused.
  void fail_maps_from(std::uint64_t nth) noexcept { fail_maps(nth, UINT64_MAX / 2); }
  /// No map() is refused any more.
  void stop_failing() noexcept { fail_maps(0, 0); }
  /// Refuses every map() of more than `bytes`, as a system does where address space is scarce.
  void refuse_maps_above(std::size_t bytes) noexcept;
  void refuse_purge(bool refuse) noexcept;
  /// Refuses every map() with which more than `bytes` would be mapped.
  void limit_mapped_bytes(std::size_t bytes) noexcept;

  /// Whether a map() was refused since the last of the calls above.
  bool failed() const noexcept;

  std::size_t mapping_count() const noexcept;
  std::size_t mapped_bytes() const noexcept;
  std::uint64_t map_calls() const noexcept;
  std::size_t purged_bytes() const noexcept;

  /// A test failure for whatever is still mapped.
  void expect_all_unmapped() const;

 private:
  struct mapping {
    std::byte* base;
    std::size_t size;
  };
  static constexpr std::size_t mapping_count_max = 4096;

  std::size_t all_mapped_bytes() const noexcept;
  void fail_maps(std::uint64_t first, std::uint64_t last) noexcept;

  mutable std::mutex mutex_;
  std::array<mapping, mapping_count_max> mappings_{};
  std::size_t mapping_count_ = 0;
  std::uint64_t map_calls_ = 0;
  std::uint64_t fail_first_ = 0;  // values of map_calls_; 0: none
  std::uint64_t fail_last_ = 0;
  std::size_t map_bytes_max_ = SIZE_MAX;
  std::size_t mapped_bytes_max_ = SIZE_MAX;
  std::size_t purged_bytes_ = 0;
  bool refuse_purge_ = false;
  bool failed_ = false;
};

}  // namespace slabbuf::support
