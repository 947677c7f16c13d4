// SPDX-License-Identifier: MIT
// Memory for the state of Asio's operations from a pool.
// Threads: as the pool: memory from a concurrent_pool may be freed on any thread.
// Lifetime: the pool must outlive every operation that uses it, hence the io_context, whose
// destructor frees the operations that are still queued: declare the pool first.
//
// Asio recycles two blocks a thread by itself and goes to the heap for the rest: this serves any
// number. Copying is one pointer; a moved-from allocator still works, because Asio 1.22 asks
// moved-from handlers for theirs. Operations above 2 KiB, and those the budget has no room for
// (counted as pool_stats::refused), use operator new: a server must be able to finish what it has
// begun. Memory is not cleared first.
#pragma once

#include <slabbuf/pool/basic_pool.hpp>

#include <asio/bind_allocator.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace slabbuf::net {

/// Most bytes of operation state that come from a pool.
inline constexpr std::size_t handler_bytes_max = 2048;

namespace detail {

// Requests are rounded up to this, so that every block is aligned to it, whatever the pool's classes, unless its
// pool_options::block_alignment says less.
inline constexpr std::size_t handler_alignment = slabbuf::detail::block_alignment;

/// Null where there is none that is aligned to `alignment`, at most handler_alignment.
inline void* allocate_from_pool(slabbuf::detail::pool_core& pool, std::size_t bytes, std::size_t alignment) noexcept {
  using core = slabbuf::detail::pool_core;
  if (alignment > alignof(std::max_align_t) && pool.alignment_of(handler_alignment) < alignment) return nullptr;
  bytes = bytes < handler_alignment ? handler_alignment : bytes;
  // A pool without a class that small would hand out far more than the operation needs.
  const std::size_t index = pool.size_classes().find(bytes);
  if (index == size_class_table::npos || pool.size_classes().size_of(index) > handler_bytes_max) return nullptr;
  core::taken got;
  if (pool.shared() ? pool.take<true>(bytes, got) : pool.take<false>(bytes, got)) return got.data;
  return pool.take_slow(bytes).data;
}

}  // namespace detail

/// A standard allocator over a local_pool or a concurrent_pool. Two are equal when their pools are
/// the same. handler_allocator<void> names the pool and is rebound to what is needed.
template <class T>
class handler_allocator {
 public:
  using value_type = T;

  template <buffer_pool Pool>
  explicit handler_allocator(Pool& pool) noexcept : pool_(&pool.core()) {}
  template <class U>
  handler_allocator(const handler_allocator<U>& other) noexcept : pool_(other.pool_) {}

  /// Uncleared memory for `count` objects. Throws std::bad_alloc when neither the pool nor the heap
  /// has any.
  T* allocate(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = count * sizeof(T);
    if constexpr (alignof(T) <= detail::handler_alignment) {
      if (bytes <= handler_bytes_max) {
        if (void* const block = detail::allocate_from_pool(*pool_, bytes, alignof(T))) return static_cast<T*>(block);
      }
    }
    return static_cast<T*>(::operator new (bytes, std::align_val_t{alignof(T)}));
  }

  void deallocate(T* memory, std::size_t count) noexcept {
    if (!slabbuf::detail::pool_core::give_by_address(memory, count * sizeof(T)))
      ::operator delete (memory, std::align_val_t{alignof(T)});
  }

  template <class U>
  bool operator==(const handler_allocator<U>& other) const noexcept {
    return pool_ == other.pool_;
  }

 private:
  template <class U>
  friend class handler_allocator;

  slabbuf::detail::pool_core* pool_;
};

/// `token`, whose operation's state comes from `pool`: async_read_some(socket, pool, bind_pool(pool, token)).
template <buffer_pool Pool, class Token>
auto bind_pool(Pool& pool, Token&& token) {
  return asio::bind_allocator(handler_allocator<void>(pool), std::forward<Token>(token));
}

}  // namespace slabbuf::net
