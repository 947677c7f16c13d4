// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/block_checks.hpp>

#include <slabbuf/pool/detail/memory_marks.hpp>
#include <slabbuf/pool/detail/page_map.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace slabbuf::detail {
namespace {

constexpr std::size_t edge_bytes = 64;
constexpr std::byte canary_byte{0xca};

bool all_are(std::byte value, const std::byte* begin, std::size_t bytes) noexcept {
  return bytes == 0 || (*begin == value && std::memcmp(begin, begin + 1, bytes - 1) == 0);
}

// edge_bytes of them, without a call.
bool edge_is_zero(const std::byte* begin) noexcept {
  std::uint64_t words[edge_bytes / sizeof(std::uint64_t)];
  std::memcpy(words, begin, sizeof words);
  std::uint64_t any = 0;
  for (const std::uint64_t each : words) any |= each;
  return any == 0;
}

// The record whose block this is; null when there is none.
slab* record_of(const block_class& of, const std::byte* block) noexcept {
  slab* const found = page_map::find(block);
  return found != nullptr && found->owner == &of ? found : nullptr;
}

std::size_t capacity_of(const block_class& of, const slab& in) noexcept {
  return of.size != 0 ? of.size : in.span_bytes;
}

bool can_be_marked(const slab& in) noexcept { return in.stride % mark_granule_bytes == 0; }

}  // namespace

bool block_checks::still_zero(const std::byte* block, std::size_t bytes) const noexcept {
  constexpr std::byte zero{0};
  if (!cleared_ || level_ == hardening::off) return true;
  if (level_ == hardening::full || bytes < edge_bytes) return all_are(zero, block, bytes);
  return edge_is_zero(block) && edge_is_zero(block + bytes - edge_bytes);
}

std::optional<misuse> block_checks::take(const block_class& of, std::byte* block) const noexcept {
  slab* const in = record_of(of, block);
  if (in == nullptr) return misuse::use_after_return;  // its slab is gone: it was in a bin twice
  const std::size_t bytes = capacity_of(of, *in);
  const bool marked = can_be_marked(*in);
  if (marked) mark_readable(block, bytes, cleared_);
  if (level_ == hardening::off) return std::nullopt;
  if (!in->check_out(in->index_of(block))) return misuse::double_put;
  // Pages of an oversize buffer come from the system.
  if (!still_zero(block, of.size != 0 ? bytes : 0)) return misuse::use_after_return;
  if (in->canary_bytes != 0) {
    if (marked) mark_readable(block + bytes, in->canary_bytes, true);
    std::memset(block + bytes, static_cast<int>(canary_byte), in->canary_bytes);
    if (marked) mark_unreadable(block + bytes, in->canary_bytes);
  }
  return std::nullopt;
}

std::optional<misuse> block_checks::before_give(const std::byte* block) const noexcept {
  if (level_ == hardening::off) return std::nullopt;
  const slab* const in = page_map::find(block);
  const std::uint32_t index = in->index_of(block);
  if (index == in->block_count) return misuse::not_a_block;
  return in->is_out(index) ? std::nullopt : std::optional(misuse::double_put);
}

std::optional<misuse> block_checks::give(const block_class& of, std::byte* block) const noexcept {
  slab* const in = record_of(of, block);
  if (in == nullptr) return misuse::double_put;
  const std::size_t bytes = capacity_of(of, *in);
  const bool marked = can_be_marked(*in);
  if (level_ != hardening::off) {
    const std::uint32_t index = in->index_of(block);
    if (index == in->block_count) return misuse::not_a_block;
    if (!in->check_in(index)) return misuse::double_put;
    if (in->canary_bytes != 0) {
      std::byte* const canary = block + bytes;
      if (marked) mark_readable(canary, in->canary_bytes, true);
      if (!all_are(canary_byte, canary, in->canary_bytes)) return misuse::overrun;
      std::memset(canary, 0, in->canary_bytes);  // every free byte of a slab is zero
    }
    if (!still_zero(block, of.size != 0 ? bytes : 0)) return misuse::overrun;
  }
  if (marked) mark_unreadable(block, bytes);
  return std::nullopt;
}

}  // namespace slabbuf::detail
