// SPDX-License-Identifier: MIT
// A pool as a std::pmr::memory_resource: containers in its blocks, counted against its budget.
// Threads: as the pool: one over a concurrent_pool may be used from any thread, one over a local_pool
// from the pool's.
// Lifetime: the pool must outlive it, and it must outlive what allocates from it.
//
// Memory goes back to its class by its address. The size given to deallocate() is what counts as written, so it
// must be the one that was asked for, as the standard demands.
#pragma once

#include <slabbuf/pool/basic_pool.hpp>

#include <cstddef>
#include <memory_resource>

namespace slabbuf {

class pmr_resource final : public std::pmr::memory_resource {
 public:
  template <buffer_pool Pool>
  explicit pmr_resource(Pool& pool) noexcept : pool_(&pool.core()) {}

  /// Alignments above this are refused with std::bad_alloc.
  static constexpr std::size_t alignment_max = std::size_t{64} << 10;

 private:
  /// Throws budget_exceeded or acquire_failed, both std::bad_alloc.
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override;
  /// Whether the other one is a pmr_resource over the same pool.
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override;

  detail::pool_core* pool_;
};

}  // namespace slabbuf
