// SPDX-License-Identifier: MIT
// A pool whose memory is registered with the io_uring of an io_context: the kernel pins it and looks its pages up once,
// not at every operation. For reading and writing files.
// Threads: as concurrent_pool; register_with() alone with the pool, and before registered().
// Lifetime: as any pool, it outlives its buffers, and so the io_context whose handlers hold them: declare it first.
// Before that context is destroyed, operations on these buffers must have completed (cancel them and run the context):
// Asio destroys their handlers, which give the blocks back, before the kernel has stopped writing.
//
//     registered_pool pool(64 << 20);              one range of memory, which becomes resident here
//     asio::io_context context;
//     pool.register_with(context);                 one fixed buffer for each GiB of it
//     buffer b = pool.acquire(65536);              a buffer like any other
//     file.async_read_some_at(0, pool.registered(b.prepare()), ...);   b.commit(bytes) when it is done
//
// A ring takes one registration in its life: the size is chosen once, and what acquire() cannot take from it is
// refused. Nothing goes back to the system before the pool dies: trim() and decay() only make room for other sizes.
// The memory counts against RLIMIT_MEMLOCK unless the process has CAP_IPC_LOCK.
//
// Not for asio::stream_file before Asio 1.34: with a registered buffer it reads from offset 0 for ever
// (chriskohlhoff/asio#1558). random_access_file is right in every version.
#pragma once

#include <asio/detail/config.hpp>

#if defined(ASIO_HAS_IO_URING)

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/detail/contiguous_pages.hpp>
#include <slabbuf/net/detail/fixed_buffers.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/pool_options.hpp>

#include <asio/async_result.hpp>
#include <asio/basic_random_access_file.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/registered_buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>

namespace slabbuf::net {
namespace detail {

/// The most bytes the kernel takes as one fixed buffer.
inline constexpr std::size_t fixed_buffer_bytes_max = std::size_t{1} << 30;

// The first base, because the pool needs it to its end.
class owns_contiguous_pages {
 protected:
  owns_contiguous_pages(std::size_t bytes, const pool_options& options)
      : pages_(whole_granules(bytes), fixed_buffer_bytes_max, options.backing) {
    if (options.pages != nullptr) throw std::invalid_argument("registered_pool: has a page source of its own");
  }

  pool_options on_them(pool_options options) noexcept {
    options.pages = &pages_;
    options.backing = {};
    options.budget_bytes_max = std::min(options.budget_bytes_max, pages_.range().size());
    return options;
  }
  const contiguous_pages& pages() const noexcept { return pages_; }

 private:
  static std::size_t whole_granules(std::size_t bytes) {
    constexpr std::size_t granule = slabbuf::detail::granule_bytes;
    if (bytes == 0 || bytes > std::numeric_limits<std::ptrdiff_t>::max())
      throw std::invalid_argument("registered_pool: no size for a range of memory");
    return (bytes + granule - 1) / granule * granule;
  }

  contiguous_pages pages_;
};

}  // namespace detail

class registered_pool final : private detail::owns_contiguous_pages, public basic_pool<true> {
 public:
  /// A pool of `bytes` of memory, rounded up to 64 KiB, for blocks and oversize buffers together: a budget above that
  /// is cut to it. A class takes memory in slabs of eight blocks, or of 1 MiB where those are larger. So with several
  /// classes in use the memory may be used up before the budget is: then acquire() throws acquire_failed and
  /// async_acquire() ends with no_memory instead of waiting. Few classes, and a budget below `bytes`, keep that rare.
  /// `options.backing` is what lies beneath; `options.pages` must be null. All of it becomes resident here. Throws
  /// std::invalid_argument for options that cannot be, and std::bad_alloc.
  explicit registered_pool(std::size_t bytes, const pool_options& options = {})
      : owns_contiguous_pages(bytes, options), basic_pool(on_them(options)) {}

  /// Registers all memory of the pool with the ring of `context`, until the context is destroyed. Once in the life of
  /// a pool, or std::logic_error is thrown. Throws std::system_error that says what was asked for: ENOMEM when
  /// RLIMIT_MEMLOCK does not allow it, EBUSY when the ring has registered buffers already, EPERM or ENOSYS when the
  /// system permits no io_uring. Afterwards nothing is registered, and it may be called again.
  void register_with(asio::execution_context& context) {
    if (!fixed_.empty()) throw std::logic_error("registered_pool: registered before");
    fixed_ = detail::register_fixed_buffers(context, pages().range(), detail::fixed_buffer_bytes_max);
  }

  /// Whether register_with() has succeeded.
  bool is_registered() const noexcept { return !fixed_.empty(); }

  /// Bytes of one of this pool's buffers, as what Asio's operations take for a fixed buffer. It owns nothing: the
  /// buffer must live until the operation has completed, and counts as written what its prepare() or writable() counts.
  /// Throws std::logic_error before register_with(), std::invalid_argument for bytes that are not the pool's.
  asio::mutable_registered_buffer registered(std::span<std::byte> bytes) const {
    const asio::mutable_registered_buffer from = fixed_[index_of(bytes)] + offset_of(bytes);
    return asio::buffer(from, bytes.size());
  }
  /// The same to write to a file from.
  asio::const_registered_buffer registered(std::span<const std::byte> bytes) const {
    const asio::const_registered_buffer from = fixed_[index_of(bytes)] + offset_of(bytes);
    return asio::buffer(from, bytes.size());
  }

 private:
  std::size_t position_of(std::span<const std::byte> bytes) const noexcept {
    // Of any address: those below the range become large numbers.
    return reinterpret_cast<std::uintptr_t>(bytes.data()) - reinterpret_cast<std::uintptr_t>(pages().range().data());
  }
  std::size_t offset_of(std::span<const std::byte> bytes) const noexcept {
    return position_of(bytes) % detail::fixed_buffer_bytes_max;
  }
  std::size_t index_of(std::span<const std::byte> bytes) const {
    if (fixed_.empty()) throw std::logic_error("registered_pool: not registered with an io_context yet");
    const std::size_t index = position_of(bytes) / detail::fixed_buffer_bytes_max;
    if (index >= fixed_.size() || offset_of(bytes) > fixed_[index].size() ||
        bytes.size() > fixed_[index].size() - offset_of(bytes))
      throw std::invalid_argument("registered_pool: bytes of another pool, or of none");
    return index;
  }

  detail::fixed_buffers fixed_;
};

namespace detail {

template <class File>
class read_some_at_op {
 public:
  read_some_at_op(File& file, std::uint64_t offset, registered_pool& pool, std::size_t bytes_max) noexcept
      : file_(&file), offset_(offset), pool_(&pool), bytes_max_(bytes_max) {}

  template <class Self>
  void operator()(Self& self) {
    File& file = *file_;
    self.reset_cancellation_state(asio::enable_total_cancellation());
    if (!pool_->has_waiters()) bytes_ = pool_->try_acquire(bytes_max_);
    // A read of nothing completes without a system call: the handler must not run within the call.
    if (!bytes_) return file.async_read_some_at(offset_, asio::mutable_buffer(), std::move(self));
    const auto into = pool_->registered(bytes_.prepare().first(bytes_.size()));
    file.async_read_some_at(offset_, into, std::move(self));
  }

  template <class Self>
  void operator()(Self& self, asio::error_code ec, std::size_t count) {
    if (!bytes_) {
      ec = asio::error::no_buffer_space;
    } else if (ec) {
      bytes_.release();
    } else {
      bytes_.commit(count);
    }
    self.complete(ec, std::move(bytes_));
  }

 private:
  File* file_;
  std::uint64_t offset_;
  registered_pool* pool_;
  std::size_t bytes_max_;
  buffer bytes_;
};

}  // namespace detail

/// Reads from a file into one block of a pool that is registered with the file's io_context. `file` and `pool` must
/// live until the handler is called; the block rides with the operation. Completes with (error_code, buffer):
///  - no error: buffer.size() is the number of bytes read, at least 1 and at most `bytes_max` (at least 1; cut to the
///    pool's largest class);
///  - eof: there are none at `offset`, the buffer is empty;
///  - no_buffer_space: the pool has no room for such a block, or others wait for it (async_acquire);
///  - operation_aborted: cancelled, or the file was closed; or any other error of the file.
/// Throws std::logic_error when the pool is not registered. Supports every type of cancellation.
template <class Executor, class Token>
auto async_read_some_at(asio::basic_random_access_file<Executor>& file, std::uint64_t offset, registered_pool& pool,
                        Token&& token, std::size_t bytes_max = read_bytes_default) {
  using file_type = asio::basic_random_access_file<Executor>;
  bytes_max = std::clamp<std::size_t>(bytes_max, 1, pool.block_bytes_max());
  return asio::async_compose<Token, void(asio::error_code, buffer)>(
      detail::read_some_at_op<file_type>(file, offset, pool, bytes_max), token, file);
}

}  // namespace slabbuf::net

#else

#include <slabbuf/pool/pool_options.hpp>

#include <cstdint>

namespace slabbuf::net {
namespace detail {

template <class Size>
struct registered_pool_without_io_uring {
  static_assert(sizeof(Size) == SIZE_MAX,
                "slabbuf::net::registered_pool needs Asio's io_uring backend, and this program is compiled without it: "
                "configure slabbuf with -DSLABBUF_IO_URING=ON (it needs liburing) and link "
                "slabbuf::net_io_uring_files or slabbuf::net_io_uring instead of slabbuf::net");
  using type = void;
};

}  // namespace detail

/// Here so that whoever makes one is told what is missing.
class registered_pool {
 public:
  template <class Size, class = typename detail::registered_pool_without_io_uring<Size>::type>
  explicit registered_pool(Size bytes, const pool_options& options = {});
};

}  // namespace slabbuf::net

#endif
