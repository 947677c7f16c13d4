// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_cache.hpp>

#include <slabbuf/pool/detail/random.hpp>

#include <algorithm>
#include <new>

namespace slabbuf::detail {
namespace {

// First room of a bin, so that a second get of the same class finds something.
constexpr std::uint64_t room_first = 2;

// What use() never is.
constexpr std::uint64_t never_seen = ~std::uint64_t{0};

std::unique_ptr<bin[]> copy_of(const bin* classes, std::size_t class_count) noexcept {
  std::unique_ptr<bin[]> bins(new (std::nothrow) bin[class_count + 1]);
  for (std::size_t index = 0; bins != nullptr && index <= class_count; ++index) {
    bins[index].of = classes[index].of;
  }
  return bins;
}

}  // namespace

std::unique_ptr<thread_cache> thread_cache::make(depot& from, bin* bins, std::size_t class_count, const options& how,
                                                 memory_budget& room_of_all) noexcept {
  return std::unique_ptr<thread_cache>(
      new (std::nothrow) thread_cache(from, bins, bins, nullptr, class_count, how, room_of_all, nullptr, pool_slots));
}

std::unique_ptr<thread_cache> thread_cache::make_closed(depot& from, const bin* classes, std::size_t class_count,
                                                        const options& how, memory_budget& room_of_all) noexcept {
  std::unique_ptr<bin[]> bins = copy_of(classes, class_count);
  if (bins == nullptr) return nullptr;
  bin* const first = bins.get();
  return std::unique_ptr<thread_cache>(new (std::nothrow) thread_cache(
      from, classes, first, std::move(bins), class_count, how, room_of_all, nullptr, pool_slots));
}

std::unique_ptr<thread_cache> thread_cache::make_of_thread(depot& from, const bin* classes, std::size_t class_count,
                                                           const options& how, memory_budget& room_of_all,
                                                           std::size_t slot) noexcept {
  std::unique_ptr<bin[]> bins = copy_of(classes, class_count);
  if (bins == nullptr) return nullptr;
  bin* const first = bins.get();
  return std::unique_ptr<thread_cache>(new (std::nothrow) thread_cache(
      from, classes, first, std::move(bins), class_count, how, room_of_all, &slots_of_thread, slot));
}

thread_cache::thread_cache(depot& from, const bin* classes, bin* bins, std::unique_ptr<bin[]> owned,
                           std::size_t class_count, const options& how, memory_budget& room_of_all, thread_slots* owner,
                           std::size_t slot) noexcept
    : depot_(from),
      classes_(classes),
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
    bins_[index].next_sample = first_sample();
  }
}

// Of samples that come 1 to 2p - 1 acquisitions after each other, what is left of such a distance at any moment: the
// lesser of two different numbers from 1 to 2p. Any other start would count short-lived caches too high or too low.
std::uint64_t thread_cache::first_sample() noexcept {
  const std::uint64_t end = 2 * std::uint64_t{how_.sample_period};
  random_ = mixed(random_);
  const std::uint64_t one = random_ % end;
  random_ = mixed(random_);
  const std::uint64_t other = random_ % (end - 1);
  return 1 + std::min(one, other >= one ? other + 1 : other);
}

thread_cache::taken thread_cache::take(std::size_t index) noexcept {
  const std::lock_guard lock(mutex_);
  recover();
  const bool keeps = !keeps_nothing();
  keeps ? open() : void(empty());
  bin& to = bins_[index];
  const bool sampled = sample_is_due(index);
  // At least this one, so that pop() fails only where the bin is empty.
  if (how_.sample_period != 0 || to.left() == 0) to.grant(bin::left_max);
  taken got{nullptr, refusal::none, sampled};
  // The slot was closed, or the class is in a dense bucket, or it was time for a sample, or a grant had run out.
  if (!(how_.oldest_first ? to.pop_oldest(got.block) : to.pop(got.block))) {
    if (keeps) grow(index);
    // The bin is empty, so its own storage receives the batch: half its room, and one for the caller.
    const depot::batch batch = depot_.take(index, to.blocks, static_cast<std::uint32_t>(to.room / 2) + 1);
    got.why = batch.why;
    if (batch.count != 0) {
      got.block = to.blocks[batch.count - 1];
      to.state.store(to.state.load(std::memory_order_relaxed) + batch.count - 1, std::memory_order_release);
      to.misses.store(misses(index) + 1, std::memory_order_relaxed);
    }
  }
  if (sampled && got.block != nullptr) draw_sample(index);
  if (how_.sample_period != 0) to.grant(bins_[index].next_sample - 1 - acquired(index));
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

void thread_cache::put(std::size_t index, std::byte* block) noexcept {
  const std::lock_guard lock(mutex_);
  recover();
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
  recover();
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
  const bool own = is_own();
  if (own) recover();
  bool any = false;
  bool kept_out = own;
  for (std::size_t index = 0; index < class_count_; ++index) {
    if (only_idle) {
      const std::uint64_t now = use(index);
      if (std::exchange(bins_[index].last_use, now) != now) continue;
    }
    if (bins_[index].room == 0 || bins_[index].was_reclaimed()) continue;
    if (!kept_out && !keep_owner_out()) return false;
    kept_out = true;
    if (own) {
      any = any || bins_[index].depth() != 0;
      shrink(index, 0, only_idle);
    } else {
      any = take_away(index, only_idle) || any;
    }
  }
  return any;
}

// Whether the calling thread is the owner, which is not in the middle of an operation then.
bool thread_cache::is_own() const noexcept { return owner_ == nullptr || owner_ == &slots_of_thread; }

// Closes the owner's slot: from now on it comes by way of the lock, after at most one operation of which either
// side knows. False when that cannot be had: then the owner empties its bins itself, or opens the slot again, when it
// finds it closed.
bool thread_cache::keep_owner_out() noexcept {
  if (slot_ == pool_slots) return true;  // it never comes by another way
  owner_->to_bins[slot_].store(0, std::memory_order_relaxed);
  return heavy_barrier();
}

// What a bin holds goes to the depot, and its owner will see by `reclaimed_at` that it did. Whether there was any.
bool thread_cache::take_away(std::size_t index, bool lay_idle) noexcept {
  bin& from = bins_[index];
  // Acquire pairs with the release in bin::push(): the blocks it counts are there.
  const std::uint64_t now = from.state.load(std::memory_order_acquire);
  depot_.put(index, from.blocks, static_cast<std::uint32_t>(now & bin::depth_mask), lay_idle);
  from.reclaimed_at.store(now, std::memory_order_release);
  reclaimed_ = true;
  give_up_room(index, from.room);  // which the owner learns from recover()
  return (now & bin::depth_mask) != 0;
}

bool thread_cache::came_to_pass(std::size_t index) noexcept {
  const std::lock_guard lock(mutex_);
  const bin& in = bins_[index];
  const std::uint64_t reclaimed = in.reclaimed_at.load(std::memory_order_relaxed);
  const bool came_to_pass = reclaimed == not_reclaimed || reclaimed == in.state.load(std::memory_order_relaxed);
  recover();
  return came_to_pass;
}

// The owner learns which of its bins are empty.
void thread_cache::recover() noexcept {
  if (!std::exchange(reclaimed_, false)) return;
  for (std::size_t index = 0; index < class_count_; ++index) {
    bin& in = bins_[index];
    const std::uint64_t reclaimed = in.reclaimed_at.load(std::memory_order_relaxed);
    if (reclaimed == not_reclaimed) continue;
    in.state.store(reclaimed & ~bin::depth_mask, std::memory_order_release);
    in.reclaimed_at.store(not_reclaimed, std::memory_order_release);
    in.room = 0;
  }
}

void thread_cache::close() noexcept {
  if (owner_ != nullptr) owner_->to_bins[slot_].store(0, std::memory_order_relaxed);
}

void thread_cache::open() noexcept {
  if (owner_ == nullptr || slot_ == pool_slots) return;
  const auto distance = reinterpret_cast<std::intptr_t>(bins_) - reinterpret_cast<std::intptr_t>(classes_);
  owner_->to_bins[slot_].store(distance, std::memory_order_relaxed);
}

// A number that changes with every block of the class that goes, and with those that come until the bin is
// full.
std::uint64_t thread_cache::use(std::size_t index) const noexcept {
  return (acquired(index) << 8) + bins_[index].depth();
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
  const std::uint64_t depth = bins_[index].depth();
  if (depth > wanted) flush_oldest(index, depth - wanted, lay_idle);
  give_up_room(index, bins_[index].room - wanted);
  bins_[index].room = wanted;
}

void thread_cache::give_up_room(std::size_t index, std::uint64_t count) noexcept {
  const std::size_t lost_bytes = count * bins_[index].of.size;
  room_of_all_.refund(lost_bytes);
  room_bytes_ -= lost_bytes;
}

void thread_cache::flush_oldest(std::size_t index, std::uint64_t count, bool lay_idle) noexcept {
  bin& from = bins_[index];
  depot_.put(index, from.blocks, static_cast<std::uint32_t>(count), lay_idle);
  std::copy(from.blocks + count, from.blocks + from.depth(), from.blocks);
  from.state.store(from.state.load(std::memory_order_relaxed) - count, std::memory_order_release);
}

}  // namespace slabbuf::detail
