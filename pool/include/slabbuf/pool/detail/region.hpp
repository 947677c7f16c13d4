// SPDX-License-Identifier: MIT
// Address space for slabs: large mappings, handed out in runs of 64 KiB granules.
// Threads: none by itself; the depot holds its lock around every call.
// Lifetime: runs are valid until free() or until the region_set dies, which unmaps everything.
//
//     region   | granule | granule | granule | ... |     16 MiB, or one run if that is larger
//     used_      1         1         0                  handed out
//     resident_  1         0         1                  a block in it may have been touched
//
// A mapping costs address space only: memory becomes resident when a block is first touched, or when a
// slab is made of it (page_backing::prefault). Free granules keep theirs, for the next slab of whatever
// class, until purge(). Mappings are whole huge pages while there is address space for it.
#pragma once

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <cstddef>
#include <cstdint>

namespace slabbuf::detail {

struct region;

class region_set {
 public:
  static constexpr std::size_t region_bytes = std::size_t{16} << 20;

  struct run {
    std::byte* base;  // null: no memory
    bool resident;    // false: nothing was ever touched, so every byte is zero
  };

  explicit region_set(page_source& pages) noexcept : pages_(pages) {}
  region_set(const region_set&) = delete;
  region_set& operator=(const region_set&) = delete;
  ~region_set();

  /// A run of `bytes`, a multiple of granule_bytes, aligned to a granule.
  run allocate(std::size_t bytes) noexcept;

  /// Gives a run back. `resident`: whether it may be.
  void free(std::byte* base, std::size_t bytes, bool resident) noexcept;

  /// Hands the memory of free granules back, but for `kept_bytes` of it, and unmaps regions without a used
  /// one. Returns the bytes that may have been resident and no longer are.
  std::size_t purge(std::size_t kept_bytes = 0) noexcept;

  /// The same for what was idle ever since this was called last: what no burst between needed.
  std::size_t purge_unneeded() noexcept;

  /// Bytes of address space mapped, and the part of it handed out in runs.
  std::size_t mapped_bytes() const noexcept { return mapped_bytes_; }
  std::size_t used_bytes() const noexcept { return used_bytes_; }

  /// Bytes that are in no run and may be resident all the same: what purge() would hand back.
  std::size_t idle_bytes() const noexcept { return idle_bytes_; }

 private:
  region* grow(std::size_t granule_count) noexcept;
  region* find(const std::byte* base) const noexcept;

  page_source& pages_;
  region* first_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  std::size_t used_bytes_ = 0;
  std::size_t idle_bytes_ = 0;
  std::size_t idle_bytes_low_ = 0;  // least since purge_unneeded()
};

}  // namespace slabbuf::detail
