// SPDX-License-Identifier: MIT
// Bytes in order that lie in several blocks: buffers and slices are put in at both ends, taken from the
// front, split and shared, and stay where they are.
// Threads: one at a time. A chain with blocks of a local_pool stays on that pool's thread.
// Lifetime: every pool whose blocks were put in must outlive the chain, or its clear(): the array of pieces may
// lie in a block, too. Pointers, spans and pieces are good until the chain changes; those that prepare()
// gave, until anything but consume() changes it.
//
//     pieces   | gone | piece 0 | piece 1 | ... | last piece | spare | spare | free |
//                       |<------- size() ------------------>|
//                                              last block  |#####......|  |......|  |......|   = room()
//                                                                |<----- prepare(n) ---->|
//
// A piece is an owner of a block and the part of it that counts (detail/block_owner.hpp). Only a last piece whose
// block nobody else owns is written behind: what prepare() gives starts there and goes on in spare blocks,
// which commit() turns into pieces or gives back.
// The array has room for a few pieces inside; beyond that it lies in a block of the pool whose buffer was put in
// (on the heap when that has none), and is kept until clear(). Its front moves as bytes are consumed.
#pragma once

#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/detail/block_owner.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>

namespace slabbuf {

/// A range of spans over some pieces of a chain: 24 bytes, trivially copyable, good as long as the pieces.
/// `of` is what makes a piece a span; the last one may be cut short.
template <class Byte, std::span<Byte> (detail::block_part::*of)() const noexcept>
class piece_spans {
 public:
  class iterator {
   public:
    using iterator_concept = std::random_access_iterator_tag;
    using iterator_category = std::input_iterator_tag;  // what it refers to is made when asked for
    using value_type = std::span<Byte>;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = value_type;

    iterator() noexcept = default;
    value_type operator*() const noexcept {
      const value_type all = (at_->*of)();
      return at_ == cut_ ? all.first(cut_bytes_) : all;
    }
    value_type operator[](difference_type distance) const noexcept { return *(*this + distance); }
    iterator& operator+=(difference_type distance) noexcept {
      at_ += distance;
      return *this;
    }
    iterator& operator-=(difference_type distance) noexcept { return *this += -distance; }
    iterator& operator++() noexcept { return *this += 1; }
    iterator& operator--() noexcept { return *this -= 1; }
    iterator operator++(int) noexcept {
      const iterator before = *this;
      ++*this;
      return before;
    }
    iterator operator--(int) noexcept {
      const iterator before = *this;
      --*this;
      return before;
    }
    friend iterator operator+(iterator left, difference_type right) noexcept { return left += right; }
    friend iterator operator+(difference_type left, iterator right) noexcept { return right += left; }
    friend iterator operator-(iterator left, difference_type right) noexcept { return left -= right; }
    friend difference_type operator-(const iterator& left, const iterator& right) noexcept {
      return left.at_ - right.at_;
    }
    friend bool operator==(const iterator& left, const iterator& right) noexcept { return left.at_ == right.at_; }
    friend std::strong_ordering operator<=>(const iterator& left, const iterator& right) noexcept {
      return left.at_ <=> right.at_;
    }

   private:
    friend class piece_spans;
    iterator(const detail::block_part* at, const detail::block_part* cut, std::size_t cut_bytes) noexcept
        : at_(at), cut_(cut), cut_bytes_(cut_bytes) {}

    const detail::block_part* at_ = nullptr;
    const detail::block_part* cut_ = nullptr;
    std::size_t cut_bytes_ = 0;
  };

  /// None.
  piece_spans() noexcept = default;
  /// Of `count` pieces, the last of which has `last_bytes`.
  piece_spans(const detail::block_part* first, std::size_t count, std::size_t last_bytes) noexcept
      : first_(first), count_(count), last_bytes_(last_bytes) {}

  iterator begin() const noexcept { return {first_, count_ != 0 ? first_ + count_ - 1 : nullptr, last_bytes_}; }
  iterator end() const noexcept { return begin() + static_cast<std::ptrdiff_t>(count_); }
  std::size_t size() const noexcept { return count_; }
  bool empty() const noexcept { return count_ == 0; }
  std::span<Byte> operator[](std::size_t index) const noexcept { return begin()[static_cast<std::ptrdiff_t>(index)]; }

  /// The pieces, for layers above that make ranges of their own of them; the last one may count in part.
  std::span<const detail::block_part> pieces() const noexcept { return {first_, count_}; }

 private:
  const detail::block_part* first_ = nullptr;
  std::size_t count_ = 0;
  std::size_t last_bytes_ = 0;
};

class buffer_chain {
 public:
  /// An owner of a block and the bytes of it that are in the chain; what is for everybody is data(), size() and
  /// span(). Trivially copyable, and no owner when copied.
  using piece = detail::block_part;
  /// The bytes of the pieces.
  using const_spans = piece_spans<const std::byte, &piece::span>;
  /// What is behind them.
  using room_spans = piece_spans<std::byte, &piece::room>;

  /// Pieces a chain has room for without an array elsewhere.
  static constexpr std::size_t pieces_inside = 4;

  /// No bytes.
  buffer_chain() noexcept {}  // NOLINT(modernize-use-equals-default): that would clear inside_
  explicit buffer_chain(buffer&& only) noexcept : buffer_chain(shared_slice(std::move(only))) {}
  explicit buffer_chain(shared_slice&& only) noexcept;
  buffer_chain(buffer_chain&& other) noexcept { steal(other); }
  buffer_chain& operator=(buffer_chain&& other) noexcept {
    if (this != &other) {
      clear();
      steal(other);
    }
    return *this;
  }
  ~buffer_chain() { clear(); }

  /// Bytes in it.
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  /// Puts bytes behind or before those that are there; what is given owns nothing afterwards. What has no bytes
  /// is given back to its pool and makes no piece. What continues the last piece in its block extends it.
  /// Throw std::bad_alloc when there is no memory for more pieces: then nothing has changed and nothing is lost.
  void append(buffer&& added);
  void append(shared_slice&& added);
  void append(buffer_chain&& added);
  void prepend(buffer&& added);
  void prepend(shared_slice&& added);
  void prepend(buffer_chain&& added);

  /// Puts a copy of `bytes` behind those that are there: into the last block, where there is room and nobody else
  /// owns it, and then into blocks of `pool`. They may be bytes of this chain. Throws as pool.acquire(), and
  /// std::bad_alloc: then nothing has changed.
  template <buffer_pool Pool>
  void append_copy(Pool& pool, std::span<const std::byte> bytes) {
    append_copy(pool.core(), bytes);
  }

  /// Drops the first `count` bytes; blocks without any left go back at once. Throws std::out_of_range when `count`
  /// is above size(). What prepare() gave stays valid.
  void consume(std::size_t count);

  /// Keeps the first `count` bytes. Throws std::out_of_range when `count` is above size().
  void trim(std::size_t count);

  /// Takes the first `count` bytes out, as a chain of their own; a block in which that ends has two owners then.
  /// Throws std::out_of_range when `count` is above size(), and std::bad_alloc: then nothing has changed.
  [[nodiscard]] buffer_chain split(std::size_t count);

  /// A chain of the same `count` bytes from `position` on; they have one owner more. Throws std::out_of_range when
  /// they are not in size(), and std::bad_alloc: then nothing has changed.
  [[nodiscard]] buffer_chain share(std::size_t position, std::size_t count);

  /// Makes the first `count` bytes, or all, contiguous, and returns them. Where they are not, they are moved behind
  /// the first piece, when its block has room and no other owner, or to a new block of its pool. Throws
  /// std::out_of_range when `count` is above size(), and as acquire(): then nothing has changed.
  std::span<const std::byte> coalesce(std::size_t count);
  std::span<const std::byte> coalesce() { return coalesce(size_); }

  /// Copies as many bytes as `into` has, from `position` on. Throws std::out_of_range when there are not so many.
  void copy_out(std::span<std::byte> into, std::size_t position = 0) const;

  /// `count` bytes to write behind those that are there, before they count: in the last block as in
  /// append_copy(), and then in spare blocks of `pool`, which need not be zero. Until commit(), all of these blocks
  /// count as written. Again without commit(), it gives the same bytes, more or fewer of them, and all that it gave
  /// before stays written. What it gave
  /// is void after anything that changes the chain but consume() and moving it, and goes back then. Throws as
  /// pool.acquire(), and std::bad_alloc: then nothing has changed.
  template <buffer_pool Pool>
  room_spans prepare(Pool& pool, std::size_t count) {
    return prepare(pool.core(), count);
  }

  /// What prepare() gave; empty after commit().
  room_spans prepared() const noexcept;
  std::size_t prepared_bytes() const noexcept { return prepared_bytes_; }

  /// The first `count` bytes that prepare() gave were written and are part of the chain; nobody wrote to the others,
  /// and spare blocks without bytes go back. Throws std::out_of_range when `count` is more than prepare() gave.
  void commit(std::size_t count);

  /// The bytes, one span a piece, none empty.
  const_spans spans() const noexcept {
    return count_ != 0 ? const_spans(first_piece(), count_, first_piece()[count_ - 1].size()) : const_spans();
  }

  /// All bytes count as written: somebody will write to them, whom spans() does not allow to.
  void mark_written() noexcept {
    for (piece* each = first_piece(); each != first_piece() + count_; ++each) each->extend(0);
  }

  /// The pieces, for layers above that make ranges of their own of them.
  std::span<const piece> pieces() const noexcept { return {first_piece(), count_}; }

  /// Pieces. Two of them may be in the same block.
  std::size_t block_count() const noexcept { return count_; }

  /// Sum of the capacities, in bytes, of the blocks of all pieces: what the chain keeps from its pools. A block of
  /// several pieces counts for each; spare blocks and the array of pieces do not.
  std::size_t pinned_bytes() const noexcept;

  /// Gives everything back, the array of pieces, too.
  void clear() noexcept;

 private:
  piece* array() noexcept { return outside_ != nullptr ? outside_ : inside_; }
  const piece* first_piece() const noexcept { return (outside_ != nullptr ? outside_ : inside_) + first_; }
  piece* first_piece() noexcept { return array() + first_; }
  piece& last_piece() noexcept { return first_piece()[count_ - 1]; }
  piece* spares() noexcept { return first_piece() + count_; }

  void steal(buffer_chain& other) noexcept;
  void reserve(std::size_t before, std::size_t behind, detail::pool_core& from);
  void put_behind(const piece& added) noexcept;
  void put_before(const piece& added) noexcept;
  bool continues(const piece& added) noexcept;
  void count_prepared_as_written() noexcept;
  void drop_prepared() noexcept;
  void give_back_spares(std::uint32_t kept) noexcept;
  void release_array() noexcept;
  void append_copy(detail::pool_core& from, std::span<const std::byte> bytes);
  room_spans prepare(detail::pool_core& from, std::size_t count);
  void take_spare(detail::pool_core& from, std::size_t wanted_bytes);

  piece inside_[pieces_inside];
  piece* outside_ = nullptr;            // the array, when it is not inside_
  std::uintptr_t outside_home_ = 0;     // of its block; 0 when it is on the heap
  std::uint32_t room_ = pieces_inside;  // pieces the array has room for
  std::uint32_t first_ = 0;             // index of the first piece
  std::uint32_t count_ = 0;             // pieces, none empty
  std::uint32_t spare_count_ = 0;       // empty ones behind them, whose blocks prepare() gave
  bool tail_prepared_ = false;          // prepare() gave what is behind the last piece, too
  std::size_t size_ = 0;                // sum over the pieces
  std::size_t prepared_bytes_ = 0;      // of what prepare() gave
};

}  // namespace slabbuf
