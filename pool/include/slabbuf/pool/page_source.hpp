// SPDX-License-Identifier: MIT
// The only door to the operating system's memory.
// Threads: every function may be called from any thread at once; implementations must allow it. They are called
// with locks of the pool held, and must not use a concurrent_pool, this or another.
// Lifetime: a source must outlive every pool that uses it. Mapped memory belongs to the caller
// until it is unmapped.
//
// One convention for all calls: sizes in bytes and multiples of page_size(); memory arrives
// zero-filled; a refusal is a null pointer or false, never an exception.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace slabbuf {

/// Bytes in a page of the operating system: the unit of mapping and purging.
std::size_t page_size() noexcept;

/// Bytes in a huge page, as huge_pages means it.
inline constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

/// Whether memory comes in pages of huge_page_bytes: fewer TLB misses, and more resident memory where
/// a page is used in part.
enum class huge_pages {
  system_default,  // what the machine is set to
  transparent,     // asked for (MADV_HUGEPAGE); mappings large enough for one start at a multiple of it
  reserved,        // from those the administrator has set aside (MAP_HUGETLB)
  never,           // not even where the machine is set to always (MADV_NOHUGEPAGE)
};

/// What is wished for beneath a mapping. Memory is there without it, too: a wish the system does not
/// grant is counted (page_source::refused()), and the mapping has ordinary pages.
struct page_backing {
  /// `reserved` is for mappings of whole huge pages: the regions of a pool are, oversize buffers only if
  /// their size is. The others have ordinary pages and are counted: rounding up would take memory that
  /// no budget knows of. Reserved pages are never purged, because the next touch could find none left;
  /// they go back when they are unmapped.
  huge_pages huge = huge_pages::system_default;

  /// The pages of a slab become resident when the slab is made, those of an oversize buffer when it is,
  /// so that no first touch of a block faults. What goes back to the system (trim(), decay) faults again.
  bool prefault = false;

  /// The node the pages shall be on while it has room, 0 to 1023. -1: that of the thread that touches a
  /// page first; since pools never write into free blocks, it is the thread that uses the buffer (or,
  /// with `prefault`, the one that needed the slab).
  int numa_node = -1;

  friend bool operator==(const page_backing&, const page_backing&) = default;
};

class page_source {
 public:
  page_source(const page_source&) = delete;
  page_source& operator=(const page_source&) = delete;
  virtual ~page_source() = default;

  /// Maps `size` bytes of zero-filled, writable memory at a multiple of `alignment` (a power of
  /// two, at least a page). Null when the system refuses.
  virtual void* map(std::size_t size, std::size_t alignment) noexcept = 0;

  /// Gives back exactly what one map() returned.
  virtual void unmap(void* address, std::size_t size) noexcept = 0;

  /// Hands the physical memory of part of a mapping back. The range stays usable and reads as
  /// zero afterwards. False when the system refused: then the content is as it was.
  virtual bool purge(void* address, std::size_t size) noexcept = 0;

  /// Makes part of a mapping resident, if that is what this source is for; the content stays. Called
  /// before anybody else knows the range. Returns whether any of it may be resident now.
  virtual bool populate(void* /*address*/, std::size_t /*size*/) noexcept { return false; }

  /// Mappings and populate() calls, ever, that did not get the backing they were to have.
  virtual std::uint64_t refused() const noexcept { return 0; }

  /// Anonymous private mappings of the operating system, default backing. Lives as long as the process.
  static page_source& system() noexcept;

 protected:
  page_source() = default;
};

/// Anonymous private mappings of the operating system, backed as wished. Keeps no record of them: it may
/// die when nobody calls it any more.
class system_page_source final : public page_source {
 public:
  /// Throws std::invalid_argument when `numa_node` is out of range. Whether the machine has transparent
  /// huge pages switched off is looked up here, once.
  explicit system_page_source(const page_backing& backing = {});

  void* map(std::size_t size, std::size_t alignment) noexcept override;
  void unmap(void* address, std::size_t size) noexcept override;
  bool purge(void* address, std::size_t size) noexcept override;
  bool populate(void* address, std::size_t size) noexcept override;
  std::uint64_t refused() const noexcept override { return refused_.load(std::memory_order_relaxed); }

  const page_backing& backing() const noexcept { return backing_; }

 private:
  bool advise(void* address, std::size_t size) const noexcept;

  const page_backing backing_;
  const bool transparent_off_;  // the advice would be taken, and nothing follow
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace slabbuf
