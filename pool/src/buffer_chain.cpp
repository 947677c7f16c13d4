// SPDX-License-Identifier: MIT
#include <slabbuf/pool/buffer_chain.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace slabbuf {
namespace {

// What is put behind a last block that is full gets one twice as large, between these: many short messages make
// few pieces.
constexpr std::size_t block_bytes_grown_min = 64;
constexpr std::size_t block_bytes_grown_max = 4096;

// Blocks of many bytes are no larger than this, so that each goes back before all are consumed.
constexpr std::size_t block_bytes_max = 64 << 10;

// They are counted in 32 bits.
constexpr std::size_t pieces_max = std::size_t{1} << 31;

}  // namespace

buffer_chain::buffer_chain(shared_slice&& only) noexcept {
  if (!only.empty()) put_behind(std::exchange(only.part_, {}));
}

// From a state that owns nothing.
void buffer_chain::steal(buffer_chain& other) noexcept {
  outside_ = std::exchange(other.outside_, nullptr);
  outside_home_ = std::exchange(other.outside_home_, 0);
  room_ = std::exchange(other.room_, static_cast<std::uint32_t>(pieces_inside));
  first_ = std::exchange(other.first_, 0);
  count_ = std::exchange(other.count_, 0);
  spare_count_ = std::exchange(other.spare_count_, 0);
  tail_prepared_ = std::exchange(other.tail_prepared_, false);
  size_ = std::exchange(other.size_, 0);
  prepared_bytes_ = std::exchange(other.prepared_bytes_, 0);
  if (outside_ == nullptr) std::copy_n(other.inside_ + first_, count_ + spare_count_, inside_ + first_);
}

void buffer_chain::release_array() noexcept {
  if (outside_ == nullptr) return;
  if (outside_home_ != 0) {
    const auto bytes = static_cast<std::uint32_t>(room_ * sizeof(piece));
    detail::release_block(reinterpret_cast<std::byte*>(outside_), outside_home_, bytes);
  } else {
    ::operator delete(outside_);
  }
}

// Makes room in the array for so many pieces more. Throws std::bad_alloc, and has changed nothing then.
void buffer_chain::reserve(std::size_t before, std::size_t behind, detail::pool_core& from) {
  const std::size_t used = std::size_t{count_} + spare_count_;
  if (first_ >= before && room_ - first_ - used >= behind) return;
  const std::size_t needed = before + used + behind;
  piece* to = array();
  std::size_t room = room_;
  std::uintptr_t home = outside_home_;
  // With a quarter of it free, moving the pieces within the array costs little for each that is put in.
  const bool grows = needed > room || (outside_ != nullptr && needed > room - room / 4);
  if (grows) {
    room = std::max(needed, 2 * room);
    if (room > pieces_max) throw std::bad_alloc();
    const bool has_class = from.size_classes().find(room * sizeof(piece)) != size_class_table::npos;
    const piece block = has_class ? piece::try_take(from, room * sizeof(piece)) : piece{};
    home = block.home;
    to = reinterpret_cast<piece*>(block.block);
    if (to != nullptr) {
      room = block.capacity / sizeof(piece);
    } else {
      to = static_cast<piece*>(::operator new(room * sizeof(piece)));
    }
  }
  // In the middle when there will be more before, at the start otherwise.
  const std::size_t first = before != 0 ? before + (room - needed) / 2 : 0;
  std::memmove(to + first, first_piece(), used * sizeof(piece));
  if (grows) {
    release_array();
    outside_ = to;
    outside_home_ = home;
    room_ = static_cast<std::uint32_t>(room);
  }
  first_ = static_cast<std::uint32_t>(first);
}

// Where there is room.
void buffer_chain::put_behind(const piece& added) noexcept {
  *spares() = added;
  ++count_;
  size_ += added.size();
}

void buffer_chain::put_before(const piece& added) noexcept {
  --first_;
  ++count_;
  *first_piece() = added;
  size_ += added.size();
}

// Extends the last piece by one that continues it in its block. False when it does not.
bool buffer_chain::continues(const piece& added) noexcept {
  if (count_ == 0) return false;
  piece& last = last_piece();
  if (last.block != added.block || last.offset + last.length != added.offset) return false;
  drop_prepared();
  last.length += added.length;
  size_ += added.length;
  added.release();
  return true;
}

void buffer_chain::append(buffer&& added) {
  if (added.empty()) return added.release();
  reserve(0, 1, *added.class_of().pool);
  append(shared_slice(std::move(added)));
}

void buffer_chain::append(shared_slice&& added) {
  if (added.empty()) return;
  const piece& part = added.part_;
  if (!continues(part)) {
    reserve(0, 1, part.pool());
    drop_prepared();
    put_behind(part);
  }
  added.part_ = {};
}

void buffer_chain::append(buffer_chain&& added) {
  if (added.count_ == 0 || this == &added) return;
  reserve(0, added.count_, added.first_piece()->pool());
  drop_prepared();
  added.drop_prepared();
  const piece* const pieces = added.first_piece();
  std::uint32_t index = continues(*pieces) ? 1 : 0;
  for (; index < added.count_; ++index) put_behind(pieces[index]);
  added.first_ = added.count_ = 0;
  added.size_ = 0;
}

void buffer_chain::prepend(buffer&& added) {
  if (added.empty()) return added.release();
  reserve(1, 0, *added.class_of().pool);
  prepend(shared_slice(std::move(added)));
}

void buffer_chain::prepend(shared_slice&& added) {
  if (added.empty()) return;
  reserve(1, 0, added.part_.pool());
  drop_prepared();
  put_before(std::exchange(added.part_, {}));
}

void buffer_chain::prepend(buffer_chain&& added) {
  if (added.count_ == 0 || this == &added) return;
  reserve(added.count_, 0, added.first_piece()->pool());
  drop_prepared();
  added.drop_prepared();
  const piece* const pieces = added.first_piece();
  for (std::uint32_t index = added.count_; index > 0; --index) put_before(pieces[index - 1]);
  added.first_ = added.count_ = 0;
  added.size_ = 0;
}

void buffer_chain::append_copy(detail::pool_core& from, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const room_spans room = prepare(from, bytes.size());
  for (const std::span<std::byte> each : room) {
    std::memcpy(each.data(), bytes.data(), each.size());
    bytes = bytes.subspan(each.size());
  }
  commit(prepared_bytes_);
}

void buffer_chain::consume(std::size_t count) {
  if (count > size_) detail::throw_beyond("buffer_chain::consume", count, size_);
  size_ -= count;
  while (count != 0) {
    piece& each = *first_piece();
    const auto taken = static_cast<std::uint32_t>(std::min(count, each.size()));
    each.offset += taken;
    each.length -= taken;
    count -= taken;
    if (each.length != 0) return;
    --count_;
    if (tail_prepared_ && count_ == 0) {  // somebody may be writing behind it
      ++spare_count_;
      tail_prepared_ = false;
      return;
    }
    each.release();
    ++first_;
  }
  if (count_ + spare_count_ == 0) first_ = 0;
}

void buffer_chain::trim(std::size_t count) {
  if (count > size_) detail::throw_beyond("buffer_chain::trim", count, size_);
  if (count == size_) return;
  drop_prepared();
  while (size_ > count) {
    piece& last = last_piece();
    const auto dropped = static_cast<std::uint32_t>(std::min(size_ - count, last.size()));
    last.length -= dropped;
    size_ -= dropped;
    if (last.length != 0) return;
    last.release();
    --count_;
  }
}

buffer_chain buffer_chain::split(std::size_t count) {
  if (count > size_) detail::throw_beyond("buffer_chain::split", count, size_);
  if (count == 0) return {};
  if (count == size_) {
    drop_prepared();
    return std::move(*this);
  }
  buffer_chain front;
  std::uint32_t whole_count = 0;  // pieces that are taken as they are
  std::size_t rest = count;       // bytes taken of the piece after them
  for (const piece* each = first_piece(); rest >= each->size(); ++each, ++whole_count) rest -= each->size();
  front.reserve(0, whole_count + (rest != 0 ? 1U : 0U), first_piece()->pool());
  piece cut{};
  if (rest != 0) cut = first_piece()[whole_count].share(0, static_cast<std::uint32_t>(rest));
  drop_prepared();
  for (; whole_count > 0; --whole_count) {
    front.put_behind(*first_piece());
    ++first_;
    --count_;
  }
  if (rest != 0) {
    front.put_behind(cut);
    first_piece()->offset += cut.length;
    first_piece()->length -= cut.length;
  }
  size_ -= count;
  return front;
}

buffer_chain buffer_chain::share(std::size_t position, std::size_t count) {
  if (position > size_ || count > size_ - position) detail::throw_beyond("buffer_chain::share", position, count, size_);
  buffer_chain shared;
  if (count == 0) return shared;
  piece* each = first_piece();
  for (; position >= each->size(); ++each) position -= each->size();
  std::size_t piece_count = 0;
  for (std::size_t bytes = 0; bytes < position + count; ++piece_count) bytes += each[piece_count].size();
  shared.reserve(0, piece_count, each->pool());
  for (; count != 0; ++each) {
    const std::size_t taken = std::min(count, each->size() - position);
    shared.put_behind(each->share(static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(taken)));
    count -= taken;
    position = 0;
  }
  return shared;
}

std::span<const std::byte> buffer_chain::coalesce(std::size_t count) {
  if (count > size_) detail::throw_beyond("buffer_chain::coalesce", count, size_);
  if (count == 0) return {};
  if (count <= first_piece()->size()) return first_piece()->span().first(count);
  piece* const first = first_piece();
  // What must be cleared must be where it is copied to.
  bool secret = false;
  const piece* each = first;
  for (std::size_t bytes = 0; bytes < count; bytes += each++->size()) secret |= (each->home & detail::secret_tag) != 0;
  const bool in_place = first->settle() && first->room().size() >= count - first->size();
  piece all = in_place ? *first : piece::take(first->pool(), count);
  drop_prepared();
  const std::size_t moved = count - all.size();
  copy_out(all.room().first(moved), all.size());
  all.extend(static_cast<std::uint32_t>(moved));
  if (secret) all.clear_on_release();
  if (in_place) {  // or consume() would give it back
    ++first_;
    --count_;
    size_ -= count - moved;
  }
  consume(moved);
  // Where pieces are left, at least one before them is gone.
  count_ == 0 ? put_behind(all) : put_before(all);
  return all.span();
}

void buffer_chain::copy_out(std::span<std::byte> into, std::size_t position) const {
  if (position > size_ || into.size() > size_ - position)
    detail::throw_beyond("buffer_chain::copy_out", position, into.size(), size_);
  if (into.empty()) return;
  const piece* each = first_piece();
  for (; position >= each->size(); ++each) position -= each->size();
  for (; !into.empty(); ++each) {
    const std::size_t copied = std::min(into.size(), each->size() - position);
    std::memcpy(into.data(), each->data() + position, copied);
    into = into.subspan(copied);
    position = 0;
  }
}

// A spare block for `wanted_bytes` or the first part of them. Throws, and has changed nothing then.
void buffer_chain::take_spare(detail::pool_core& from, std::size_t wanted_bytes) {
  reserve(0, 1, from);
  const std::size_t needed = std::min({wanted_bytes, block_bytes_max, from.block_bytes_max()});
  piece taken{};
  if (const std::size_t there = count_ + spare_count_; there != 0) {
    const std::size_t last = first_piece()[there - 1].capacity;
    const std::size_t grown = std::clamp(2 * last, block_bytes_grown_min, block_bytes_grown_max);
    // A request that the budget would refuse counts in the statistics, and this is only a wish.
    if (grown > needed && grown <= std::min(from.block_bytes_max(), from.available_bytes())) {
      taken = piece::try_take(from, grown);
    }
  }
  if (taken.block == nullptr) taken = piece::take(from, needed);
  spares()[spare_count_++] = taken;
}

buffer_chain::room_spans buffer_chain::prepare(detail::pool_core& from, std::size_t count) {
  // No acquire() gives as much, and throws: not only when block by block all memory has gone.
  if (count > PTRDIFF_MAX) piece::take(from, count).release();
  count_prepared_as_written();
  bool tail = tail_prepared_;
  if (!tail && spare_count_ == 0 && count_ != 0) tail = last_piece().settle() && !last_piece().room().empty();
  std::size_t room = tail ? last_piece().room().size() : 0;
  for (std::uint32_t index = 0; index < spare_count_; ++index) room += spares()[index].room().size();
  const std::uint32_t spares_before = spare_count_;
  try {
    while (room < count) {
      take_spare(from, count - room);
      room += spares()[spare_count_ - 1].room().size();
    }
  } catch (...) {
    give_back_spares(spares_before);
    throw;
  }
  // Also when `count` is less than before: what was given then may be written to.
  tail_prepared_ = tail && (tail_prepared_ || count != 0);
  prepared_bytes_ = count;
  return prepared();
}

buffer_chain::room_spans buffer_chain::prepared() const noexcept {
  if (prepared_bytes_ == 0) return {};
  const piece* const first = first_piece() + count_ - (tail_prepared_ ? 1 : 0);
  const piece* last = first;
  std::size_t last_bytes = prepared_bytes_;
  for (; last_bytes > last->room().size(); ++last) last_bytes -= last->room().size();
  return {first, static_cast<std::size_t>(last - first) + 1, last_bytes};
}

void buffer_chain::commit(std::size_t count) {
  if (count > prepared_bytes_) detail::throw_beyond("buffer_chain::commit", count, prepared_bytes_);
  size_ += count;
  if (tail_prepared_) {
    piece& last = last_piece();
    const std::size_t taken = std::min(count, last.room().size());
    last.extend(static_cast<std::uint32_t>(taken));
    count -= taken;
  }
  while (count != 0) {
    piece& next = *spares();
    const std::size_t taken = std::min(count, next.room().size());
    next.extend(static_cast<std::uint32_t>(taken));
    count -= taken;
    ++count_;
    --spare_count_;
  }
  tail_prepared_ = false;
  prepared_bytes_ = 0;
  give_back_spares(0);
}

void buffer_chain::give_back_spares(std::uint32_t kept) noexcept {
  for (; spare_count_ > kept; --spare_count_) spares()[spare_count_ - 1].release();
}

// Nobody will say what of it was written: all of it may be.
void buffer_chain::count_prepared_as_written() noexcept {
  if (tail_prepared_) last_piece().written = last_piece().capacity;
  for (std::uint32_t index = 0; index < spare_count_; ++index) spares()[index].written = spares()[index].capacity;
}

void buffer_chain::drop_prepared() noexcept {
  count_prepared_as_written();
  tail_prepared_ = false;
  prepared_bytes_ = 0;
  give_back_spares(0);
}

std::size_t buffer_chain::pinned_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const piece& each : pieces()) bytes += each.capacity;
  return bytes;
}

void buffer_chain::clear() noexcept {
  drop_prepared();
  for (const piece& each : pieces()) each.release();
  release_array();
  outside_ = nullptr;
  outside_home_ = 0;
  room_ = pieces_inside;
  first_ = count_ = 0;
  size_ = 0;
}

}  // namespace slabbuf
