// SPDX-License-Identifier: MIT
// Owner of one block of a pool: move-only, 24 bytes, gives the block back when it dies. share() adds
// owners; then the last of them does.
// Threads: one thread at a time; a buffer of a concurrent_pool may be moved to, and die on, any
// thread, one of a local_pool only on the pool's own. Owners of one block each have their own thread.
// Lifetime: the pool must outlive it. Hold it as long as the bytes are needed and no longer: what is
// held counts against the pool's budget. Pointers and spans into it die with it.
//
//     data() ------------------ size() ------------------ capacity()
//     |<-- written -->| zero       |  zero, reached by resize()  |
//
// The written extent (see zeroing.hpp) grows by what a caller could have written: data() counts all
// of size(), writable(n) the first n bytes, prepare() everything until commit(n) says what it was.
//
// A buffer whose block is shared may still be written to, and every owner sees it: bytes that others look at
// on other threads must stay as they are.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/block_owner.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace slabbuf {

template <bool shared>
class basic_pool;
class shared_slice;
class buffer_chain;

/// A block without an owner, from get_buffer(). Whoever holds it must put_buffer() it.
struct raw_buffer {
  std::byte* data = nullptr;
  std::size_t size = 0;        // bytes asked for
  std::size_t class_size = 0;  // bytes there are
};

class buffer {
 public:
  /// Owns nothing.
  buffer() noexcept = default;

  buffer(buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        written_(std::exchange(other.written_, 0)),
        home_(other.home_) {}

  buffer& operator=(buffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      written_ = std::exchange(other.written_, 0);
      home_ = other.home_;
    }
    return *this;
  }

  [[gnu::always_inline]] ~buffer() { release(); }

  /// Gives the block back now. The buffer owns nothing afterwards; harmless when it did not before.
  [[gnu::always_inline]] void release() noexcept {
    if (data_ == nullptr) return;
    detail::release_block(data_, home_, written_);
    forget();
  }

  /// Whether it owns a block.
  explicit operator bool() const noexcept { return data_ != nullptr; }

  /// Whether size() is zero.
  bool empty() const noexcept { return size_ == 0; }

  /// Bytes in use: what was asked for, until resize() or commit(). 0 when it owns nothing.
  std::size_t size() const noexcept { return size_; }

  /// Bytes the block has; at least size(). 0 when it owns nothing.
  std::size_t capacity() const noexcept {
    if (data_ == nullptr) return 0;
    const std::size_t size = class_of().size;
    return size != 0 ? size : oversize_capacity();
  }

  /// The bytes, to read.
  const std::byte* data() const noexcept { return data_; }

  /// The bytes, to write: all of size() counts as written from now on. To write less than that,
  /// writable() is cheaper for whoever gets the block next.
  std::byte* data() noexcept {
    mark(size_);
    return data_;
  }

  /// The first `count` bytes, to write; only they count as written. Throws std::out_of_range when
  /// `count` is above size().
  std::span<std::byte> writable(std::size_t count) {
    if (count > size_) [[unlikely]]
      detail::throw_beyond("buffer::writable", count, size_);
    mark(static_cast<std::uint32_t>(count));
    return {data_, count};
  }

  /// All of capacity(), for somebody who will say by commit() how much was written: a system call, a
  /// decoder. Until commit() says less, all of it counts as written.
  std::span<std::byte> prepare() noexcept {
    written_ |= detail::pool_core::written_unknown;
    return {data_, capacity()};
  }

  /// The first `count` bytes of the block were written, of all that prepare() gave: they count as
  /// written, and are size(). Throws std::out_of_range when `count` is above capacity().
  void commit(std::size_t count) {
    if (count > capacity()) [[unlikely]]
      detail::throw_beyond("buffer::commit", count, capacity());
    size_ = static_cast<std::uint32_t>(count);
    written_ &= ~detail::pool_core::written_unknown;
    mark(size_);
  }

  /// Sets size(), up to capacity(), and changes no byte: bytes never written are zero. Where all bytes
  /// were handed out for writing before, those that are added are, too. Throws std::out_of_range when
  /// `size` is above capacity().
  void resize(std::size_t size) {
    if (size > capacity()) [[unlikely]]
      detail::throw_beyond("buffer::resize", size, capacity());
    const bool all_written = written_ >= size_;
    size_ = static_cast<std::uint32_t>(size);
    if (all_written) mark(size_);
  }

  /// What was written is cleared when the block goes back, whatever pool_options::zero says: for keys and decrypted
  /// bytes. Stays with the block when it is shared later, or put into a chain. Costs nothing where the pool clears
  /// anyway.
  void clear_on_release() noexcept {
    if (data_ != nullptr) home_ |= detail::secret_tag_for(home_);
  }
  /// Whether it is, for that reason or for the pool's.
  bool clears_on_release() const noexcept { return data_ == nullptr || detail::clears(home_); }

  /// A view of all of size() that keeps the block, too; the buffer stays what it is. A view of no bytes owns
  /// nothing. Throws std::bad_alloc when there is no memory for the count of owners: then nothing has
  /// changed. Of a buffer that is given away, the view is the owner, and nothing is counted or thrown.
  /// For both, include shared_slice.hpp, as every pool does.
  [[nodiscard]] shared_slice share() &;
  [[nodiscard]] shared_slice share() && noexcept;
  /// The same of `count` bytes from `position` on. Throws std::out_of_range when they are not in size().
  [[nodiscard]] shared_slice share(std::size_t position, std::size_t count) &;

 private:
  template <bool shared>
  friend class basic_pool;
  friend class shared_slice;
  friend class buffer_chain;

  [[gnu::always_inline]] buffer(const detail::pool_core::taken& got, std::size_t size, std::uintptr_t tag) noexcept
      : data_(got.data),
        size_(static_cast<std::uint32_t>(size)),
        home_(reinterpret_cast<std::uintptr_t>(__builtin_assume_aligned(got.of, detail::bin_stride)) | tag) {}

  const detail::block_class& class_of() const noexcept { return detail::class_at(home_); }
  /// All of the block, as an owner of another kind has it; this one owns it, too, until forget().
  detail::block_part part() const noexcept;
  void forget() noexcept {
    data_ = nullptr;
    size_ = 0;
    written_ = 0;
  }
  void mark(std::uint32_t count) noexcept {
    const std::uint32_t unknown = written_ & detail::pool_core::written_unknown;
    if (count > (written_ ^ unknown)) written_ = count | unknown;
  }
  std::size_t oversize_capacity() const noexcept;

  std::byte* data_ = nullptr;  // null: owns nothing
  std::uint32_t size_ = 0;     // bytes in use, <= capacity
  std::uint32_t written_ = 0;  // bytes from the start that may have been written, or written_unknown
  std::uintptr_t home_ = 0;    // block_owner.hpp; meaningless while data_ is null
};

static_assert(sizeof(buffer) <= 24);

}  // namespace slabbuf
