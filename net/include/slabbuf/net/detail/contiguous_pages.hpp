// SPDX-License-Identifier: MIT
// One range of memory, mapped and made resident at once, that a pool takes its pages from: memory whose addresses
// somebody else, a ring of io_uring, must know beforehand.
// Threads: any.
// Lifetime: outlives the pool; the range goes back to the system with it, and no part of it before.
//
//     range   | part 0, at most part_bytes_max | part 1 | ... |      no mapping lies in two parts
//
// What the kernel has pinned must stay: a purge would put other memory beneath the same addresses, and what the kernel
// writes would be nowhere to be found. So purge() is refused always, and a mapping that comes back is cleared for the
// next.
#pragma once

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <span>

namespace slabbuf::net::detail {

class contiguous_pages final : public page_source {
 public:
  /// `bytes` and `part_bytes_max` in multiples of granule_bytes. Throws std::bad_alloc when the system has no
  /// memory, std::invalid_argument as system_page_source.
  contiguous_pages(std::size_t bytes, std::size_t part_bytes_max, page_backing backing)
      : mapping_(bytes, backing),
        granule_count_(bytes / granule),
        part_granule_count_(part_bytes_max / granule),
        used_(new bool[granule_count_]()) {}

  std::span<std::byte> range() const noexcept { return {mapping_.base, mapping_.bytes}; }

  void* map(std::size_t size, std::size_t alignment) noexcept override {
    const std::size_t count = granules(size);
    const std::lock_guard lock(mutex_);
    std::size_t start = none;
    for (std::size_t index = 0; index < granule_count_; ++index) {
      if (used_[index]) {
        start = none;
        continue;
      }
      if (start == none || index % part_granule_count_ == 0) start = is_aligned(index, alignment) ? index : none;
      if (start == none || index + 1 - start < count) continue;
      std::fill_n(used_.get() + start, count, true);
      return mapping_.base + start * granule;
    }
    return nullptr;
  }

  void unmap(void* address, std::size_t size) noexcept override {
    std::memset(address, 0, size);
    const std::size_t start = static_cast<std::size_t>(static_cast<std::byte*>(address) - mapping_.base) / granule;
    const std::lock_guard lock(mutex_);
    std::fill_n(used_.get() + start, granules(size), false);
  }

  bool purge(void* /*address*/, std::size_t /*size*/) noexcept override { return false; }
  bool populate(void* /*address*/, std::size_t /*size*/) noexcept override { return true; }  // it is already
  std::uint64_t refused() const noexcept override { return mapping_.system.refused(); }

 private:
  static constexpr std::size_t granule = slabbuf::detail::granule_bytes;
  static constexpr std::size_t none = SIZE_MAX;

  struct mapping {
    mapping(std::size_t size, page_backing backing)
        : system((backing.prefault = true, backing)),
          bytes(size),
          base(static_cast<std::byte*>(system.map(size, huge_page_bytes))) {
      if (base == nullptr) throw std::bad_alloc();
      system.populate(base, size);
    }
    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;
    ~mapping() { system.unmap(base, bytes); }

    system_page_source system;
    const std::size_t bytes;
    std::byte* const base;
  };

  static std::size_t granules(std::size_t bytes) noexcept { return bytes / granule + (bytes % granule != 0 ? 1 : 0); }
  bool is_aligned(std::size_t index, std::size_t alignment) const noexcept {
    return (reinterpret_cast<std::uintptr_t>(mapping_.base + index * granule) & (alignment - 1)) == 0;
  }

  mapping mapping_;
  const std::size_t granule_count_;
  const std::size_t part_granule_count_;
  std::mutex mutex_;                    // guards what used_ points to
  const std::unique_ptr<bool[]> used_;  // one for each granule
};

}  // namespace slabbuf::net::detail
