// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/block_owner.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace slabbuf::detail {
namespace {

using counter = std::atomic_ref<std::uint32_t>;

// The record of a block that is out. Null when there is none yet and no memory for one.
block_owners* owners_of(const std::byte* block) noexcept {
  slab* const in = page_map::find(block);
  return in->owners_of(in->index_of(block));
}

bool is_local(std::uintptr_t home) noexcept { return (home & local_tag) != 0; }

// Cleared here, and by nobody else: only blocks of pools that clear nothing have the tag.
void release_secret(std::byte* block, std::uintptr_t home, std::uint32_t written) noexcept {
  std::memset(block, 0, std::min<std::size_t>(written, pool_core::capacity({block, &class_at(home)})));
  release_block(block, home & ~secret_tag, 0);
}

pool_core::taken_or_refused take_any(pool_core& from, std::size_t size) noexcept {
  pool_core::taken got{};
  const bool taken = from.shared() ? from.take<true>(size, got) : from.take<false>(size, got);
  return taken ? pool_core::taken_or_refused{got, refusal::none} : from.take_slow(size);
}

block_part whole(const pool_core& from, const pool_core::taken& got) noexcept {
  return {.block = got.data,
          .home = reinterpret_cast<std::uintptr_t>(got.of) | (from.shared() ? shared_tag : local_tag),
          .offset = 0,
          .length = 0,
          .written = 0,
          .capacity = static_cast<std::uint32_t>(std::min(pool_core::capacity(got), buffer_bytes_max))};
}

}  // namespace

std::uintptr_t join(const std::byte* block, std::uintptr_t home) {
  block_owners* const record = owners_of(block);
  if (record == nullptr) throw std::bad_alloc();
  const counter count(record->count);
  // Relaxed: whoever adds an owner is one, and hands the new one over by means of its own. The count cannot
  // wrap: 2^32 owners would take 96 GiB.
  if ((home & joint_tag) == 0) {
    count.store(2, std::memory_order_relaxed);
    counter(record->written).store(0, std::memory_order_relaxed);
  } else if (is_local(home)) {
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  } else {
    count.fetch_add(1, std::memory_order_relaxed);
  }
  return home | joint_tag;
}

bool is_alone(const std::byte* block, std::uintptr_t home) noexcept {
  // Acquire pairs with the release in release_joint(): what the others did to the block is done.
  return (home & joint_tag) == 0 || counter(owners_of(block)->count).load(std::memory_order_acquire) == 1;
}

bool settle(const std::byte* block, std::uintptr_t& home, std::uint32_t& written) noexcept {
  if ((home & joint_tag) == 0) return true;
  block_owners& record = *owners_of(block);
  const counter count(record.count);
  if (count.load(std::memory_order_acquire) != 1) return false;  // as in is_alone()
  count.store(0, std::memory_order_relaxed);
  written = std::max(written, counter(record.written).load(std::memory_order_relaxed));
  home &= ~joint_tag;
  return true;
}

void release_joint(std::byte* block, std::uintptr_t home, std::uint32_t written) noexcept {
  if ((home & joint_tag) == 0) return release_secret(block, home, written);
  block_owners& record = *owners_of(block);
  const counter count(record.count);
  const counter merged(record.written);
  // Acquire pairs with the release below: who finds itself alone sees all that the others did to the block and
  // to the record, and needs no read-modify-write.
  const std::uint32_t before = count.load(std::memory_order_acquire);
  if (before != 1) {
    std::uint32_t most = merged.load(std::memory_order_relaxed);
    if (is_local(home)) {
      merged.store(std::max(most, written), std::memory_order_relaxed);
      count.store(before - 1, std::memory_order_relaxed);
      return;
    }
    while (most < written && !merged.compare_exchange_weak(most, written, std::memory_order_relaxed)) continue;
    // Unless the others have left meanwhile, the block may be anybody's from here on.
    if (count.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  }
  written = std::max(written, merged.load(std::memory_order_relaxed));
  count.store(0, std::memory_order_relaxed);
  release_block(block, home & ~joint_tag, written);
}

block_part block_part::take(pool_core& from, std::size_t capacity_min) {
  const pool_core::taken_or_refused got = take_any(from, capacity_min);
  if (got.data == nullptr) from.throw_refused(capacity_min, got.why);
  return whole(from, got);
}

block_part block_part::try_take(pool_core& from, std::size_t capacity_min) noexcept {
  const pool_core::taken_or_refused got = take_any(from, capacity_min);
  return got.data != nullptr ? whole(from, got) : block_part{};
}

void throw_beyond(const char* function, std::size_t asked, std::size_t limit) {
  throw std::out_of_range("slabbuf::" + std::string(function) + ": " + std::to_string(asked) + " bytes of " +
                          std::to_string(limit));
}

void throw_beyond(const char* function, std::size_t position, std::size_t asked, std::size_t limit) {
  throw std::out_of_range("slabbuf::" + std::string(function) + ": " + std::to_string(asked) + " bytes at " +
                          std::to_string(position) + " of " + std::to_string(limit));
}

}  // namespace slabbuf::detail
