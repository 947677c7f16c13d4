// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_cache.hpp>

#include <slabbuf/pool/detail/random.hpp>

#include <sched.h>

#include <algorithm>
#include <new>

namespace slabbuf::detail {
namespace {

// First room of a bin, so that a second get of the same class finds something.
constexpr std::uint64_t room_first = 2;

// What use() never is.
constexpr std::uint64_t never_seen = ~std::uint64_t{0};

// How often reclaim() looks whether the owner has left: it is inside for nanoseconds, or off the
// processor in the middle of them.
constexpr int looks_max = 10'000;

std::unique_ptr<bin[]> copy_of(const bin* classes, std::size_t class_count) noexcept {
  std::unique_ptr<bin[]> bins(new (std::nothrow) bin[class_count + 1]);
  for (std::size_t index = 0; bins != nullptr && index <= class_count; ++index) {
    bins[index].of = classes[index].of;
    bins[index].sample_at = never_sampled;
  }
  return bins;
}

}  // namespace

std::unique_ptr<thread_cache> thread_cache::make(depot& from, bin* bins, std::size_t class_count, const options& how,
                                                 memory_budget& room_of_all) noexcept {
  return std::unique_ptr<thread_cache>(
      new (std::nothrow) thread_cache(from, bins, nullptr, class_count, how, room_of_all, nullptr, pool_slots));
}

std::unique_ptr<thread_cache> thread_cache::make_closed(depot& from, const bin* classes, std::size_t class_count,
                                                        const options& how, memory_budget& room_of_all) noexcept {
  std::unique_ptr<bin[]> bins = copy_of(classes, class_count);
  if (bins == nullptr) return nullptr;
  bin* const first = bins.get();
  return std::unique_ptr<thread_cache>(new (std::nothrow) thread_cache(from, first, std::move(bins), class_count, how,
                                                                       room_of_all, nullptr, pool_slots));
}

std::unique_ptr<thread_cache> thread_cache::make_of_thread(depot& from, const bin* classes, std::size_t class_count,
                                                           const options& how, memory_budget& room_of_all,
                                                           std::size_t slot) noexcept {
  std::unique_ptr<bin[]> bins = copy_of(classes, class_count);
  if (bins == nullptr) return nullptr;
  bin* const first = bins.get();
  return std::unique_ptr<thread_cache>(new (std::nothrow) thread_cache(from, first, std::move(bins), class_count, how,
                                                                       room_of_all, &slots_of_thread, slot));
}

thread_cache::thread_cache(depot& from, bin* bins, std::unique_ptr<bin[]> owned, std::size_t class_count,
                           const options& how, memory_budget& room_of_all, thread_slots* owner,
                           std::size_t slot) noexcept
    : depot_(from),
      owned_(std::move(owned)),
      bins_(bins),
      class_count_(class_count),
      how_(how),
      room_of_all_(room_of_all),
      owner_(owner),
      slot_(slot),
      random_(fresh_seed()) {
  if (owner != nullptr) mutex_.enable();
  if (how_.sample_period == 0) return;
  for (std::size_t index = 0; index < class_count_; ++index) {
    random_ = mixed(random_);
    bins_[index].next_sample = 1 + random_ % how_.sample_period;
    set_sample_at(index);
  }
}

thread_cache::taken thread_cache::take(std::size_t index) noexcept {
  const std::lock_guard lock(mutex_);
  const bool keeps = !keeps_nothing();
  keeps ? open() : void(empty());
  bin& to = bins_[index];
  const bool sampled = sample_is_due(index);
  to.sample_at = never_sampled;  // it is this one, or not
  taken got{nullptr, refusal::none, sampled};
  // The slot was closed, or the class is in a dense bucket, or it was time for a sample.
  if (!(how_.oldest_first ? to.pop_oldest(got.block) : to.pop(got.block))) {
    if (keeps) grow(index);
    // The bin is empty, so its own storage receives the batch: half its room, and one for the caller.
    const depot::batch batch = depot_.take(index, to.blocks, static_cast<std::uint32_t>(to.room / 2) + 1);
    got.why = batch.why;
    if (batch.count != 0) {
      got.block = to.blocks[batch.count - 1];
      to.state.store(to.state.load(std::memory_order_relaxed) + batch.count - 1, std::memory_order_relaxed);
      to.misses.store(misses(index) + 1, std::memory_order_relaxed);
    }
  }
  if (sampled && got.block != nullptr) draw_sample(index);
  set_sample_at(index);
  return got;
}

// Whether the acquisition that is under way is to be sampled.
bool thread_cache::sample_is_due(std::size_t index) const noexcept {
  return how_.sample_period != 0 && acquired(index) + 1 >= bins_[index].next_sample;
}

// The next one to be sampled, at random, so that no rhythm of the program hides from samples.
void thread_cache::draw_sample(std::size_t index) noexcept {
  random_ = mixed(random_);
  bins_[index].next_sample = acquired(index) + 1 + random_ % (2 * std::uint64_t{how_.sample_period} - 1);
}

// Lets the fast path hand out what comes before the next sample: it counts what it popped, not misses.
void thread_cache::set_sample_at(std::size_t index) noexcept {
  if (how_.sample_period == 0) return;
  bins_[index].sample_at = (bins_[index].next_sample - 1 - misses(index)) << bin::count_shift;
}

void thread_cache::put(std::size_t index, std::byte* block) noexcept {
  const std::lock_guard lock(mutex_);
  if (keeps_nothing()) {
    empty();
    return depot_.put(index, &block, 1);
  }
  open();
  bin& to = bins_[index];
  if (to.push(block)) return;
  grow(index);
  if (to.push(block)) return;
  if (to.room == 0) return depot_.put(index, &block, 1);
  flush_oldest(index, (to.room + 1) / 2);
  to.last_use = never_seen;  // a bin that overflows is in use, even if it is as deep as before
  to.push(block);
}

bool thread_cache::flush() noexcept {
  const std::lock_guard lock(mutex_);
  return empty();
}

bool thread_cache::empty() noexcept {
  bool any = false;
  for (std::size_t index = 0; index < class_count_ && room_bytes_ != 0; ++index) {
    any = any || bins_[index].depth() != 0;
    shrink(index, 0);
  }
  return any;
}

bool thread_cache::reclaim(bool only_idle) noexcept {
  const std::lock_guard lock(mutex_);
  bool any = false;
  bool closed = false;
  for (std::size_t index = 0; index < class_count_; ++index) {
    if (only_idle) {
      const std::uint64_t now = use(index);
      if (std::exchange(bins_[index].last_use, now) != now) continue;
    }
    if (bins_[index].room == 0) continue;
    if (!closed && !close_while_elsewhere()) return false;
    closed = true;
    any = any || bins_[index].depth() != 0;
    shrink(index, 0, only_idle);
  }
  return any;
}

// Closes the owner's slot and waits until the owner has left its bins. False when that cannot be known:
// then the owner empties them itself, or opens the slot again, when it finds it closed.
bool thread_cache::close_while_elsewhere() noexcept {
  if (owner_ == nullptr || owner_ == &slots_of_thread) return true;
  std::atomic<bin*>& slot = owner_->bins[slot_];
  slot.store(closed_bins, std::memory_order_relaxed);
  bool elsewhere = heavy_barrier();
  // Acquire pairs with the release in ~slot_guard().
  for (int look = 0; elsewhere && owner_->inside.load(std::memory_order_acquire) != 0; ++look) {
    elsewhere = look < looks_max;
    ::sched_yield();
  }
  return elsewhere;
}

void thread_cache::close() noexcept {
  if (owner_ != nullptr) owner_->bins[slot_].store(closed_bins, std::memory_order_relaxed);
}

void thread_cache::open() noexcept {
  if (owner_ != nullptr && slot_ != pool_slots) owner_->bins[slot_].store(bins_, std::memory_order_relaxed);
}

// A number that changes with every block of the class that goes, and with those that come until the bin is
// full.
std::uint64_t thread_cache::use(std::size_t index) const noexcept {
  return bins_[index].state.load(std::memory_order_relaxed) + (misses(index) << bin::count_shift);
}

std::uint64_t thread_cache::room_max(std::size_t index) const noexcept {
  return std::min<std::uint64_t>(how_.bytes_max / bins_[index].of.size, bin::room_max);
}

// Relaxed: whoever begins to wait empties all caches after, under their locks.
bool thread_cache::keeps_nothing() const noexcept {
  return how_.waiting != nullptr && how_.waiting->load(std::memory_order_relaxed) != 0;
}

// Doubles the room of a bin, as far as the caps and the other bins allow.
void thread_cache::grow(std::size_t index) noexcept {
  const std::size_t size = bins_[index].of.size;
  const std::uint64_t before = bins_[index].room;
  const std::uint64_t wanted = std::min(std::max(before * 2, room_first), room_max(index));
  if (wanted <= before) return;
  const std::size_t needed = (wanted - before) * size;
  // Halve the others in turn until the bytes are there. A bin that is in use grows again.
  for (std::size_t step = 0; step < class_count_ && how_.bytes_max - room_bytes_ < needed; ++step) {
    victim_ = victim_ + 1 < class_count_ ? victim_ + 1 : 0;
    if (victim_ != index) shrink(victim_, bins_[victim_].room / 2);
  }
  const std::uint64_t gained = std::min<std::uint64_t>(wanted - before, (how_.bytes_max - room_bytes_) / size);
  if (!room_of_all_.try_charge(gained * size)) return;
  room_bytes_ += gained * size;
  bins_[index].room += gained;
}

void thread_cache::shrink(std::size_t index, std::uint64_t wanted, bool lay_idle) noexcept {
  bin& in = bins_[index];
  if (in.depth() > wanted) flush_oldest(index, in.depth() - wanted, lay_idle);
  const std::size_t lost_bytes = (in.room - wanted) * in.of.size;
  room_of_all_.refund(lost_bytes);
  room_bytes_ -= lost_bytes;
  in.room = wanted;
}

void thread_cache::flush_oldest(std::size_t index, std::uint64_t count, bool lay_idle) noexcept {
  bin& from = bins_[index];
  depot_.put(index, from.blocks, static_cast<std::uint32_t>(count), lay_idle);
  std::copy(from.blocks + count, from.blocks + from.depth(), from.blocks);
  from.state.store(from.state.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
}

}  // namespace slabbuf::detail
