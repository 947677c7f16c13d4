// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_cache.hpp>

#include <algorithm>
#include <new>

namespace slabbuf::detail {
namespace {

// Enough to amortise a lock to less than a nanosecond a block; a KiB of words per class.
constexpr std::uint32_t room_blocks_max = 128;

// First room of a bin, so that a second get of the same class finds something.
constexpr std::uint32_t room_blocks_first = 2;

}  // namespace

std::uint32_t thread_cache::room_max(std::size_t class_size, std::size_t bytes_max) noexcept {
  return static_cast<std::uint32_t>(std::min<std::size_t>(bytes_max / class_size, room_blocks_max));
}

std::unique_ptr<thread_cache> thread_cache::make(depot& from, const block_class* classes, std::size_t class_count,
                                                 std::size_t bytes_max, memory_budget& room_of_all) noexcept {
  std::size_t word_count = 0;
  for (std::size_t index = 0; index < class_count; ++index) word_count += room_max(classes[index].size, bytes_max);
  std::unique_ptr<free_block[]> storage(new (std::nothrow) free_block[word_count]);
  if (storage == nullptr) return nullptr;
  return std::unique_ptr<thread_cache>(
      new (std::nothrow) thread_cache(from, classes, class_count, bytes_max, room_of_all, std::move(storage)));
}

thread_cache::thread_cache(depot& from, const block_class* classes, std::size_t class_count, std::size_t bytes_max,
                           memory_budget& room_of_all, std::unique_ptr<free_block[]> storage) noexcept
    : depot_(from),
      classes_(classes),
      class_count_(class_count),
      bytes_max_(bytes_max),
      room_of_all_(room_of_all),
      storage_(std::move(storage)) {
  free_block* floor = storage_.get();
  for (std::size_t index = 0; index < class_count_; ++index) {
    bins_[index].floor = bins_[index].ceiling = floor;
    bins_[index].top.store(floor, std::memory_order_relaxed);
    floor += room_max(classes_[index].size, bytes_max_);
  }
}

refusal thread_cache::refill(std::size_t index, free_block& block) noexcept {
  grow(index);
  // The bin is empty, so its own storage receives the batch: half its room, and one for the caller.
  bin& to = bins_[index];
  free_block single;
  const std::uint32_t half = room(index) / 2;
  free_block* const blocks = half == 0 ? &single : to.floor;
  const depot::batch got = depot_.take(index, blocks, half + 1);
  if (got.count == 0) return got.why;
  block = blocks[got.count - 1];
  if (half != 0) to.top.store(to.floor + (got.count - 1), std::memory_order_relaxed);
  misses_[index].store(misses(index) + 1, std::memory_order_relaxed);
  return refusal::none;
}

void thread_cache::flush_half(std::size_t index, free_block block) noexcept {
  grow(index);
  if (push(index, block)) return;
  if (room(index) == 0) {
    depot_.put(index, &block, 1);
    return;
  }
  flush_oldest(index, (room(index) + 1) / 2);
  push(index, block);
}

bool thread_cache::flush() noexcept {
  bool any = false;
  for (std::size_t index = 0; index < class_count_; ++index) {
    any = any || depth(index) != 0;
    shrink(index, 0);
  }
  return any;
}

std::uint32_t thread_cache::room(std::size_t index) const noexcept {
  return static_cast<std::uint32_t>(bins_[index].ceiling - bins_[index].floor);
}

// Doubles the room of a bin, as far as the caps and the other bins allow.
void thread_cache::grow(std::size_t index) noexcept {
  const std::size_t size = classes_[index].size;
  const std::uint32_t before = room(index);
  const std::uint32_t wanted = std::min(std::max(before * 2, room_blocks_first), room_max(size, bytes_max_));
  if (wanted <= before) return;
  const std::size_t needed = (wanted - before) * size;
  // Halve the others in turn until the bytes are there. A bin that is in use grows again.
  for (std::size_t step = 0; step < class_count_ && bytes_max_ - room_bytes_ < needed; ++step) {
    victim_ = victim_ + 1 < class_count_ ? victim_ + 1 : 0;
    if (victim_ != index) shrink(victim_, room(victim_) / 2);
  }
  const std::size_t gained = std::min<std::size_t>(wanted - before, (bytes_max_ - room_bytes_) / size);
  if (!room_of_all_.try_charge(gained * size)) return;
  room_bytes_ += gained * size;
  bins_[index].ceiling += gained;
}

void thread_cache::shrink(std::size_t index, std::uint32_t wanted) noexcept {
  const auto kept = static_cast<std::uint32_t>(depth(index));
  if (kept > wanted) flush_oldest(index, kept - wanted);
  const std::size_t lost_bytes = (room(index) - wanted) * classes_[index].size;
  room_of_all_.refund(lost_bytes);
  room_bytes_ -= lost_bytes;
  bins_[index].ceiling = bins_[index].floor + wanted;
}

void thread_cache::flush_oldest(std::size_t index, std::uint32_t count) noexcept {
  bin& from = bins_[index];
  depot_.put(index, from.floor, count);
  free_block* const top = from.top.load(std::memory_order_relaxed);
  std::move(from.floor + count, top, from.floor);
  from.top.store(top - count, std::memory_order_relaxed);
}

}  // namespace slabbuf::detail
