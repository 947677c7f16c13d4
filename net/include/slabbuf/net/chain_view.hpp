// SPDX-License-Identifier: MIT
// The bytes of a buffer_chain as an Asio buffer sequence: for asio::write, async_read, buffer_copy,
// buffers_iterator, ssl::stream and whatever else takes one.
// Threads: as the chain.
// Lifetime: a view is 24 bytes that own nothing, and may be copied as often as Asio likes to. It is good until the
// chain changes; the chain must live as long as the operation that was given the view.
//
//     pieces   | piece 0 | piece 1 | ... | piece n-1 |
//                   |<------- view ------->|             skip bytes of the first, so many of the last
//
// A chain_view is a MutableBufferSequence and a ConstBufferSequence, a const_chain_view the latter alone.
#pragma once

#include <slabbuf/pool/buffer_chain.hpp>

#include <asio/buffer.hpp>

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <type_traits>

namespace slabbuf::net {

/// `Buffer` is asio::mutable_buffer or asio::const_buffer.
template <class Buffer>
class basic_chain_view {
 public:
  using value_type = Buffer;
  class const_iterator;
  using iterator = const_iterator;

  /// No buffers.
  basic_chain_view() noexcept = default;

  /// All bytes of a chain. A view through which they can be written counts them as written from here on; other
  /// owners of the same blocks see what is written.
  explicit basic_chain_view(buffer_chain& chain) noexcept requires std::same_as<Buffer, asio::mutable_buffer>
      : basic_chain_view(of_bytes, chain.pieces(), 0, chain.size()) {
    chain.mark_written();
  }
  explicit basic_chain_view(const buffer_chain& chain) noexcept requires std::same_as<Buffer, asio::const_buffer>
      : basic_chain_view(of_bytes, chain.pieces(), 0, chain.size()) {}

  const_iterator begin() const noexcept { return {*this, 0}; }
  const_iterator end() const noexcept { return {*this, count_}; }
  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  Buffer operator[](std::size_t index) const noexcept {
    const buffer_chain::piece& piece = first_[index];
    std::span<std::byte> bytes =
        what_ == of_bytes ? std::span<std::byte>(piece.block + piece.offset, piece.length) : piece.room();
    if (index + 1 == count_) bytes = bytes.first(last_end_);
    if (index == 0) bytes = bytes.subspan(skip_);
    return Buffer(bytes.data(), bytes.size());
  }

 private:
  template <class Pool>
  friend class dynamic_chain;

  enum part : std::uint32_t { of_bytes, of_room };

  // `count` bytes from `position` on of what `what` calls for of the pieces.
  basic_chain_view(part what, std::span<const buffer_chain::piece> pieces, std::size_t position,
                   std::size_t count) noexcept
      : what_(what) {
    const auto bytes_of = [what](const buffer_chain::piece& each) {
      return what == of_bytes ? each.size() : each.room().size();
    };
    std::size_t index = 0;
    while (index < pieces.size() && position >= bytes_of(pieces[index])) position -= bytes_of(pieces[index++]);
    if (count == 0 || index == pieces.size()) return;
    first_ = pieces.data() + index;
    skip_ = static_cast<std::uint32_t>(position);
    std::size_t end = position + count;  // from the start of the piece at hand
    for (; end > bytes_of(pieces[index]); ++index) end -= bytes_of(pieces[index]);
    last_end_ = static_cast<std::uint32_t>(end);
    count_ = static_cast<std::uint32_t>(&pieces[index] - first_ + 1);
  }

  const buffer_chain::piece* first_ = nullptr;
  std::uint32_t count_ = 0;     // pieces
  std::uint32_t skip_ = 0;      // bytes of the first that come before
  std::uint32_t last_end_ = 0;  // where the last ends, from its own start
  part what_ = of_bytes;
};

template <class Buffer>
class basic_chain_view<Buffer>::const_iterator {
 public:
  using iterator_category = std::random_access_iterator_tag;
  using value_type = Buffer;
  using difference_type = std::ptrdiff_t;
  using pointer = const Buffer*;
  using reference = Buffer;  // made when asked for

  const_iterator() noexcept = default;
  const_iterator(const basic_chain_view& of, std::size_t index) noexcept
      : of_(of), index_(static_cast<std::ptrdiff_t>(index)) {}

  Buffer operator*() const noexcept { return of_[static_cast<std::size_t>(index_)]; }
  Buffer operator[](difference_type distance) const noexcept { return *(*this + distance); }
  const_iterator& operator+=(difference_type distance) noexcept {
    index_ += distance;
    return *this;
  }
  const_iterator& operator-=(difference_type distance) noexcept { return *this += -distance; }
  const_iterator& operator++() noexcept { return *this += 1; }
  const_iterator& operator--() noexcept { return *this -= 1; }
  const_iterator operator++(int) noexcept {
    const const_iterator before = *this;
    ++*this;
    return before;
  }
  const_iterator operator--(int) noexcept {
    const const_iterator before = *this;
    --*this;
    return before;
  }
  friend const_iterator operator+(const_iterator left, difference_type right) noexcept { return left += right; }
  friend const_iterator operator+(difference_type left, const_iterator right) noexcept { return right += left; }
  friend const_iterator operator-(const_iterator left, difference_type right) noexcept { return left -= right; }
  friend difference_type operator-(const const_iterator& left, const const_iterator& right) noexcept {
    return left.index_ - right.index_;
  }
  friend bool operator==(const const_iterator& left, const const_iterator& right) noexcept {
    return left.index_ == right.index_;
  }
  friend std::strong_ordering operator<=>(const const_iterator& left, const const_iterator& right) noexcept {
    return left.index_ <=> right.index_;
  }

 private:
  basic_chain_view of_;
  std::ptrdiff_t index_ = 0;
};

using chain_view = basic_chain_view<asio::mutable_buffer>;
using const_chain_view = basic_chain_view<asio::const_buffer>;

static_assert(sizeof(chain_view) <= 24 && std::is_trivially_copyable_v<chain_view>);
static_assert(asio::is_mutable_buffer_sequence<chain_view>::value);
static_assert(asio::is_const_buffer_sequence<chain_view>::value);
static_assert(asio::is_const_buffer_sequence<const_chain_view>::value);
static_assert(!asio::is_mutable_buffer_sequence<const_chain_view>::value);

}  // namespace slabbuf::net
