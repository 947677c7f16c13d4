// SPDX-License-Identifier: MIT
// Owner of one block of a pool: move-only, 24 bytes, gives the block back when it dies.
// Threads: one thread at a time; a buffer of a concurrent_pool may be moved to, and die on, any
// thread, one of a local_pool only on the pool's own.
// Lifetime: the pool must outlive it. Hold it as long as the bytes are needed and no longer: what is
// held counts against the pool's budget. Pointers and spans into it die with it.
//
//     data() ------------------ size() ------------------ capacity()
//     |<-- written -->| zero       |  zero, reached by resize()  |
//
// The written extent (see zeroing.hpp) grows by what a caller could have written: data() counts all
// of size(), writable(n) the first n bytes, commit(n) what arrived in prepare()d memory.
#pragma once

#include <slabbuf/pool/detail/free_block.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace slabbuf {

template <bool shared>
class basic_pool;

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
        class_(other.class_) {}

  buffer& operator=(buffer&& other) noexcept {
    if (this != &other) {
      release();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      written_ = std::exchange(other.written_, 0);
      class_ = other.class_;
    }
    return *this;
  }

  ~buffer() { release(); }

  /// Gives the block back now. The buffer owns nothing afterwards; harmless when it did not before.
  void release() noexcept {
    if (data_ == nullptr) return;
    detail::pool_core::give(*class_, data_, written_);
    data_ = nullptr;
    size_ = 0;
    written_ = 0;
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
    return class_->size != 0 ? class_->size : oversize_capacity();
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
      throw_beyond("writable", count, size_);
    mark(static_cast<std::uint32_t>(count));
    return {data_, count};
  }

  /// All of capacity(), for somebody who will say by commit() how much was written: a system call,
  /// a decoder. Counts nothing as written by itself.
  std::span<std::byte> prepare() noexcept { return {data_, capacity()}; }

  /// The first `count` bytes of the block were written: they count as written, and are size().
  /// Throws std::out_of_range when `count` is above capacity().
  void commit(std::size_t count) {
    resize(count);
    mark(size_);
  }

  /// Sets size(), up to capacity(), and changes no byte: bytes never written are zero. Throws
  /// std::out_of_range when `size` is above capacity().
  void resize(std::size_t size) {
    if (size > capacity()) [[unlikely]]
      throw_beyond("resize", size, capacity());
    size_ = static_cast<std::uint32_t>(size);
  }

 private:
  template <bool shared>
  friend class basic_pool;

  buffer(std::byte* data, std::size_t size, const detail::block_class& of) noexcept
      : data_(data), size_(static_cast<std::uint32_t>(size)), written_(of.written_at_start), class_(&of) {}

  void mark(std::uint32_t count) noexcept {
    if (count > written_) written_ = count;
  }
  std::size_t oversize_capacity() const noexcept;
  [[noreturn]] static void throw_beyond(const char* what, std::size_t asked, std::size_t limit);

  std::byte* data_ = nullptr;                   // null: owns nothing
  std::uint32_t size_ = 0;                      // bytes in use, <= capacity
  std::uint32_t written_ = 0;                   // bytes from the start that may have been written
  const detail::block_class* class_ = nullptr;  // meaningless while data_ is null
};

static_assert(sizeof(buffer) <= 24);

}  // namespace slabbuf
