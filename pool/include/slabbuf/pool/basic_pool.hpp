// SPDX-License-Identifier: MIT
// What local_pool and concurrent_pool have in common: the verbs.
// Threads: see local_pool.hpp and concurrent_pool.hpp, the two there are.
// Lifetime: a pool must outlive every buffer and raw_buffer taken from it, and every Asio object
// whose handlers use its memory: declare it before the io_context. A pool that dies while any is out
// reports misuse (pool_died_in_use) and aborts.
#pragma once

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>
#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/provenance.hpp>
#include <slabbuf/pool/shared_slice.hpp>
#include <slabbuf/pool/size_class.hpp>
#include <slabbuf/pool/stats.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace slabbuf {

template <bool shared>
class basic_pool {
 public:
  /// Throws std::invalid_argument when the budget is below one block of the smallest class, `backing` names
  /// no NUMA node, or `backing` and `pages` are both set; and std::bad_alloc.
  explicit basic_pool(const pool_options& options = {}) : core_(options, shared) {}
  basic_pool(const basic_pool&) = delete;
  basic_pool& operator=(const basic_pool&) = delete;

  /// A buffer of `size` bytes (0 is allowed) in a block of the smallest class that fits; above the
  /// largest class, pages of its own from the page source. Zero as pool_options::zero says.
  /// Throws budget_exceeded when the budget has no room, acquire_failed (both std::bad_alloc) when
  /// the system has no memory or `size` is above buffer_bytes_max.
  [[nodiscard]] [[gnu::always_inline]] buffer acquire(std::size_t size) {
    detail::pool_core::taken got;
    if (!core_.take<shared>(size, got)) [[unlikely]]
      got = take_slow(size);
    return buffer(got, size, tag);
  }

  /// As acquire(), but returns a buffer that owns nothing where that would throw.
  [[nodiscard]] [[gnu::always_inline]] buffer try_acquire(std::size_t size) noexcept {
    detail::pool_core::taken got;
    if (!core_.take<shared>(size, got)) [[unlikely]] {
      got = core_.take_slow(size);
      if (got.data == nullptr) return {};
    }
    return buffer(got, size, tag);
  }

  /// As acquire(), for owners of another kind: the caller must put_buffer() it. All of it counts as
  /// written.
  [[nodiscard]] raw_buffer get_buffer(std::size_t size) {
    detail::pool_core::taken got;
    if (!core_.take<shared>(size, got)) [[unlikely]]
      got = take_slow(size);
    core_.lend(got);
    return {got.data, size, detail::pool_core::capacity(got)};
  }

  /// Gives a get_buffer() block back. The class is found by the address, never by the length: any
  /// size from 0 to the class size is right. Reports misuse (failure.hpp) when the address is not that
  /// of a block this pool has out by get_buffer() (of another pool, put before, a buffer's) or `size` is
  /// more than the block has. Null is ignored.
  void put_buffer(void* data, std::size_t size) noexcept {
    if (data != nullptr) core_.give_lent(data, size);
  }
  void put_buffer(const raw_buffer& taken) noexcept { put_buffer(taken.data, taken.size); }

  /// What the pool has done and holds. See stats.hpp.
  [[nodiscard]] pool_stats stats() const noexcept {
    pool_stats now;
    core_.stats(now);
    return now;
  }

  /// Empties the caches of all threads (the caller's alone where membarrier(2) is forbidden) and gives the memory of
  /// free blocks back to the system. Returns the bytes that may have been resident and no longer are. Takes time: for
  /// idle moments.
  std::size_t trim() noexcept { return core_.trim(); }

  /// Gives memory that was not needed since pool_options::decay ago back to the system: free blocks in caches,
  /// pages of slabs from which nothing was taken, kept oversize buffers. Does nothing, at the cost of a
  /// comparison, until that much time has passed since it last did. Returns the bytes given back. Call
  /// it from a timer or whenever convenient; `now` is for tests.
  std::size_t decay(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) noexcept {
    return core_.decay(now);
  }
  std::chrono::steady_clock::duration decay_period() const noexcept { return core_.decay_period(); }

  /// The sampled buffers that are out, longest held first; empty unless pool_options::sample_period says
  /// that there are samples. Throws std::bad_alloc.
  std::vector<provenance> holders() const {
    return core_.samples() != nullptr ? core_.samples()->holders() : std::vector<provenance>();
  }

  /// The sizes that were asked for, each as large as the largest request of its kind (a sixteenth of a power
  /// of two), estimated from samples: for size_class_table::tune(). Empty without samples. Throws
  /// std::bad_alloc.
  std::vector<size_class_table::size_count> size_histogram() const {
    return core_.samples() != nullptr ? core_.samples()->sizes() : std::vector<size_class_table::size_count>();
  }

  const size_class_table& size_classes() const noexcept { return core_.size_classes(); }

  /// Bytes of the largest block the budget has room for, when nothing else is out. Oversize buffers
  /// may be larger.
  std::size_t block_bytes_max() const noexcept { return core_.block_bytes_max(); }

  /// Bytes that the budget has left at this moment; SIZE_MAX when there is no limit.
  std::size_t available_bytes() const noexcept { return core_.available_bytes(); }

  /// Whether every law of the pool holds: free bits against counts, counts against the budget. For
  /// tests and debugging, while no other thread is inside the pool; walks every slab.
  [[nodiscard]] bool check_invariants() noexcept { return core_.check_invariants(); }

  /// Whether the budget has room for a buffer of `size` bytes when nothing else is out.
  bool can_ever_have(std::size_t size) const noexcept { return core_.can_ever_have(size); }

  /// Whether somebody waits for the budget (net::async_acquire).
  bool has_waiters() const noexcept { return core_.has_waiters(); }

  /// For the layers above: a buffer of `size` bytes in a block that core() gave.
  buffer adopt(const detail::pool_core::taken& got, std::size_t size) noexcept { return buffer(got, size, tag); }

  /// The part all pools share, for the layers above (slabbuf::net).
  detail::pool_core& core() noexcept { return core_; }

 private:
  static constexpr std::uintptr_t tag = shared ? detail::shared_tag : detail::local_tag;

  [[gnu::noinline, gnu::cold]] detail::pool_core::taken take_slow(std::size_t size) {
    const detail::pool_core::taken_or_refused got = core_.take_slow(size);
    if (got.data == nullptr) core_.throw_refused(size, got.why);
    return got;
  }

  detail::pool_core core_;
};

/// A local_pool or a concurrent_pool: what the layers above accept.
template <class Pool>
concept buffer_pool = std::derived_from<Pool, basic_pool<false>> || std::derived_from<Pool, basic_pool<true>>;

}  // namespace slabbuf
