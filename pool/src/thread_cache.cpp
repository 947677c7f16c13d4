// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_cache.hpp>

#include <sched.h>

#include <algorithm>
#include <new>

namespace slabbuf::detail {
namespace {

// First room of a bin, so that a second get of the same class finds something.
constexpr std::uint64_t room_first = 2;

// How often reclaim() looks whether the owner has left: it is inside for nanoseconds, or off the
// processor in the middle of them.
constexpr int looks_max = 10'000;

}  // namespace

std::unique_ptr<thread_cache> thread_cache::make(depot& from, bin* bins, std::size_t class_count, std::size_t bytes_max,
                                                 memory_budget& room_of_all) noexcept {
  return std::unique_ptr<thread_cache>(
      new (std::nothrow) thread_cache(from, bins, class_count, bytes_max, room_of_all, nullptr, pool_slots));
}

std::unique_ptr<thread_cache> thread_cache::make_of_thread(depot& from, const bin* classes, std::size_t class_count,
                                                           std::size_t bytes_max, memory_budget& room_of_all,
                                                           std::size_t slot) noexcept {
  std::unique_ptr<bin[]> bins(new (std::nothrow) bin[class_count + 1]);
  if (bins == nullptr) return nullptr;
  for (std::size_t index = 0; index <= class_count; ++index) bins[index].of = classes[index].of;
  std::unique_ptr<thread_cache> made(
      new (std::nothrow) thread_cache(from, bins.get(), class_count, bytes_max, room_of_all, &slots_of_thread, slot));
  if (made != nullptr) static_cast<void>(bins.release());
  return made;
}

thread_cache::thread_cache(depot& from, bin* bins, std::size_t class_count, std::size_t bytes_max,
                           memory_budget& room_of_all, thread_slots* owner, std::size_t slot) noexcept
    : depot_(from),
      bins_(bins),
      class_count_(class_count),
      bytes_max_(bytes_max),
      room_of_all_(room_of_all),
      owner_(owner),
      slot_(slot) {
  if (owner != nullptr) mutex_.enable();
}

thread_cache::~thread_cache() {
  if (owner_ != nullptr) delete[] bins_;
}

thread_cache::taken thread_cache::take(std::size_t index) noexcept {
  const std::lock_guard lock(mutex_);
  open();
  bin& to = bins_[index];
  std::byte* block = nullptr;
  if (to.pop(block)) return {block, refusal::none};  // the slot was closed, or the class is in a dense bucket
  grow(index);
  // The bin is empty, so its own storage receives the batch: half its room, and one for the caller.
  const depot::batch got = depot_.take(index, to.blocks, static_cast<std::uint32_t>(to.room / 2) + 1);
  if (got.count == 0) return {nullptr, got.why};
  to.state.store(to.state.load(std::memory_order_relaxed) + got.count - 1, std::memory_order_relaxed);
  misses_[index].store(misses(index) + 1, std::memory_order_relaxed);
  return {to.blocks[got.count - 1], refusal::none};
}

void thread_cache::put(std::size_t index, std::byte* block) noexcept {
  const std::lock_guard lock(mutex_);
  open();
  bin& to = bins_[index];
  if (to.push(block)) return;
  grow(index);
  if (to.push(block)) return;
  if (to.room == 0) return depot_.put(index, &block, 1);
  flush_oldest(index, (to.room + 1) / 2);
  to.push(block);
}

bool thread_cache::flush() noexcept {
  const std::lock_guard lock(mutex_);
  return flush_locked();
}

bool thread_cache::reclaim(bool only_idle) noexcept {
  const std::lock_guard lock(mutex_);
  const std::uint64_t now = use();
  if (std::exchange(last_use_, now) != now && only_idle) return false;
  if (room_bytes_ == 0) return false;
  std::atomic<bin*>& slot = owner_->bins[slot_];
  bin* const before = slot.load(std::memory_order_relaxed);
  slot.store(closed_bins, std::memory_order_relaxed);
  bool elsewhere = heavy_barrier();
  // Acquire pairs with the release in ~slot_guard().
  for (int look = 0; elsewhere && owner_->inside.load(std::memory_order_acquire) != 0; ++look) {
    elsewhere = look < looks_max;
    ::sched_yield();
  }
  if (!elsewhere) {
    slot.store(before, std::memory_order_relaxed);
    return false;
  }
  return flush_locked();
}

void thread_cache::close() noexcept {
  if (owner_ != nullptr) owner_->bins[slot_].store(closed_bins, std::memory_order_relaxed);
}

void thread_cache::open() noexcept {
  if (owner_ != nullptr && slot_ != pool_slots) owner_->bins[slot_].store(bins_, std::memory_order_relaxed);
}

bool thread_cache::flush_locked() noexcept {
  bool any = false;
  for (std::size_t index = 0; index < class_count_; ++index) {
    any = any || bins_[index].depth() != 0;
    shrink(index, 0);
  }
  return any;
}

// A number that changes with every block that comes or goes.
std::uint64_t thread_cache::use() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t index = 0; index < class_count_; ++index) {
    sum += bins_[index].state.load(std::memory_order_relaxed) + (misses(index) << bin::count_shift);
  }
  return sum;
}

std::uint64_t thread_cache::room_max(std::size_t index) const noexcept {
  return std::min<std::uint64_t>(bytes_max_ / bins_[index].of.size, bin::room_max);
}

// Doubles the room of a bin, as far as the caps and the other bins allow.
void thread_cache::grow(std::size_t index) noexcept {
  const std::size_t size = bins_[index].of.size;
  const std::uint64_t before = bins_[index].room;
  const std::uint64_t wanted = std::min(std::max(before * 2, room_first), room_max(index));
  if (wanted <= before) return;
  const std::size_t needed = (wanted - before) * size;
  // Halve the others in turn until the bytes are there. A bin that is in use grows again.
  for (std::size_t step = 0; step < class_count_ && bytes_max_ - room_bytes_ < needed; ++step) {
    victim_ = victim_ + 1 < class_count_ ? victim_ + 1 : 0;
    if (victim_ != index) shrink(victim_, bins_[victim_].room / 2);
  }
  const std::uint64_t gained = std::min<std::uint64_t>(wanted - before, (bytes_max_ - room_bytes_) / size);
  if (!room_of_all_.try_charge(gained * size)) return;
  room_bytes_ += gained * size;
  bins_[index].room += gained;
}

void thread_cache::shrink(std::size_t index, std::uint64_t wanted) noexcept {
  bin& in = bins_[index];
  if (in.depth() > wanted) flush_oldest(index, in.depth() - wanted);
  const std::size_t lost_bytes = (in.room - wanted) * in.of.size;
  room_of_all_.refund(lost_bytes);
  room_bytes_ -= lost_bytes;
  in.room = wanted;
}

void thread_cache::flush_oldest(std::size_t index, std::uint64_t count) noexcept {
  bin& from = bins_[index];
  depot_.put(index, from.blocks, static_cast<std::uint32_t>(count));
  std::copy(from.blocks + count, from.blocks + from.depth(), from.blocks);
  from.state.store(from.state.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
}

}  // namespace slabbuf::detail
