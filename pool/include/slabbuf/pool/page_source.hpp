// SPDX-License-Identifier: MIT
// The only door to the operating system's memory.
// Threads: every function may be called from any thread at once; implementations must allow it.
// Lifetime: a source must outlive every pool that uses it. Mapped memory belongs to the caller
// until it is unmapped.
//
// One convention for all calls: sizes in bytes and multiples of page_size(); memory arrives
// zero-filled; a refusal is a null pointer or false, never an exception.
#pragma once

#include <cstddef>

namespace slabbuf {

/// Bytes in a page of the operating system: the unit of mapping and purging.
std::size_t page_size() noexcept;

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

  /// Anonymous private mappings of the operating system. Lives as long as the process.
  static page_source& system() noexcept;

 protected:
  page_source() = default;
};

}  // namespace slabbuf
