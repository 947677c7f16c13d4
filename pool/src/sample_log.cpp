// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/sample_log.hpp>

#include <execinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace slabbuf::detail {
namespace {

// The frame of add(), which says nothing.
constexpr int own_frames = 1;

[[gnu::always_inline]] inline std::size_t record_calls(std::array<void*, 14>& frames) noexcept {
  void* all[std::tuple_size_v<std::remove_reference_t<decltype(frames)>> + own_frames];
  const int found = std::max(::backtrace(all, static_cast<int>(std::size(all))) - own_frames, 0);
  std::copy_n(all + own_frames, found, frames.begin());
  return static_cast<std::size_t>(found);
}

}  // namespace

sample_log::sample_log(std::uint32_t period)
    : period_(period), sets_(std::make_unique<set[]>(set_count)), buckets_(std::make_unique<bucket[]>(bucket_count)) {
  // The first call loads a library and allocates: now rather than in the middle of an acquisition.
  std::array<void*, 14> frames;
  record_calls(frames);
}

std::size_t sample_log::set_of(const void* data) noexcept {
  // Fibonacci hashing (Knuth, volume 3, 6.4): blocks are aligned, their low bits are all alike.
  const std::uint64_t spread = reinterpret_cast<std::uintptr_t>(data) * 0x9e37'79b9'7f4a'7c15;
  return spread >> (64 - std::countr_zero(set_count));
}

std::size_t sample_log::bucket_of(std::size_t size) noexcept {
  if (size < 2 * buckets_per_octave) return size;
  const auto exponent = static_cast<std::size_t>(std::bit_width(size)) - 5;  // four bits below the highest
  return exponent * buckets_per_octave + (size >> exponent);
}

void sample_log::add(const void* data, std::size_t size, std::size_t class_size) noexcept {
  provenance now{data, size, class_size, std::chrono::steady_clock::now(), ::syscall(SYS_gettid), {}, 0};
  now.frame_count = record_calls(now.frames);

  const std::lock_guard lock(mutex_);
  bucket& sizes = buckets_[bucket_of(std::max<std::size_t>(size, 1))];
  sizes.size_largest = std::max({sizes.size_largest, size, std::size_t{1}});
  sizes.count += period_;

  // In this order: the block's own, the one that is out of use the longest.
  set& in = sets_[set_of(data)];
  record* place = nullptr;
  for (record& each : in.records) {
    if (each.what.data == data) {
      place = &each;
      break;
    }
    if (!each.out && (place == nullptr || each.what.since < place->what.since)) place = &each;
  }
  if (place == nullptr) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (!place->out) in.live.store(in.live.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  *place = {now, true};
}

void sample_log::forget(const void* data) noexcept {
  const std::lock_guard lock(mutex_);
  set& in = sets_[set_of(data)];
  for (record& each : in.records) {
    if (each.what.data != data || !each.out) continue;
    each.out = false;
    in.live.store(in.live.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
}

void sample_log::superseded(const void* data) noexcept {
  const std::lock_guard lock(mutex_);
  for (record& each : sets_[set_of(data)].records) {
    if (each.what.data == data && !each.out) each.what.data = nullptr;
  }
}

bool sample_log::find(const void* data, provenance& last) const noexcept {
  const std::lock_guard lock(mutex_);
  for (const record& each : sets_[set_of(data)].records) {
    if (each.what.data != data) continue;
    last = each.what;
    return true;
  }
  return false;
}

std::vector<provenance> sample_log::holders() const {
  std::vector<provenance> found;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t index = 0; index < set_count; ++index) {
      for (const record& each : sets_[index].records) {
        if (each.out) found.push_back(each.what);
      }
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& left, const auto& right) { return left.since < right.since; });
  return found;
}

bool sample_log::oldest(provenance& held) const noexcept {
  bool any = false;
  const std::lock_guard lock(mutex_);
  for (std::size_t index = 0; index < set_count; ++index) {
    for (const record& each : sets_[index].records) {
      if (!each.out || (any && held.since <= each.what.since)) continue;
      held = each.what;
      any = true;
    }
  }
  return any;
}

std::vector<size_class_table::size_count> sample_log::sizes() const {
  std::vector<size_class_table::size_count> found;
  const std::lock_guard lock(mutex_);
  for (std::size_t index = 0; index < bucket_count; ++index) {
    if (buckets_[index].count != 0) found.push_back({buckets_[index].size_largest, buckets_[index].count});
  }
  return found;
}

}  // namespace slabbuf::detail
