// SPDX-License-Identifier: MIT
// What it takes to own a block: the way home in one word, and a count for as long as there are several
// owners.
// Threads: as the pool of the block: of a concurrent_pool, different owners on any threads at once; of a
// local_pool, on its thread. One owner is used by one thread at a time.
// Lifetime: a block goes back to its pool when its last owner leaves.
//
//     home    | block_class ....................... | secret | joint | local | shared |
//
//     joint = 0: this is the only owner. Nothing is counted, and leaving is the pool's fast path.
//     joint = 1: there may be others. How many, and how much those who left have written, is in the slab's
//                record (slab.hpp), out of reach of whoever writes past the end of a block.
//
//     secret = 1: what was written is cleared in the end although the pool clears nothing (zeroing::none). Owners
//                that join have it, too.
//
// A joint owner that is alone again stays joint until settle(). Who leaves last clears what any of the owners
// may have written: each adds its own extent to the record as it goes.
// Invariant: the count of a block without joint owners is 0; of any other, the number of its owners.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace slabbuf::detail {

inline constexpr std::uintptr_t shared_tag = 1;  // a block of a concurrent_pool
inline constexpr std::uintptr_t local_tag = 2;   // a block of a local_pool
inline constexpr std::uintptr_t joint_tag = 4;
inline constexpr std::uintptr_t secret_tag = 8;
inline constexpr std::uintptr_t tag_mask = 15;
static_assert(bin_stride > tag_mask, "a block_class starts a bin");

inline const block_class& class_at(std::uintptr_t home) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a pointer and tags in one word
  return *reinterpret_cast<const block_class*>(home & ~tag_mask);
}

/// What an owner adds to its `home` so that what was written is cleared in the end whatever the pool's policy.
inline std::uintptr_t secret_tag_for(std::uintptr_t home) noexcept {
  return class_at(home).clear == zeroing::none ? secret_tag : 0;
}

/// Whether what such an owner has written is cleared in the end.
inline bool clears(std::uintptr_t home) noexcept { return (home & secret_tag) != 0 || secret_tag_for(home) == 0; }

/// Another owner of the block. Returns what both have for `home` from now on. Throws std::bad_alloc: then
/// nothing has changed.
[[nodiscard]] std::uintptr_t join(const std::byte* block, std::uintptr_t home);

/// Whether nobody else owns the block. Also when the last of the others is leaving at this moment: what it has
/// done to the block is visible then.
bool is_alone(const std::byte* block, std::uintptr_t home) noexcept;

/// Makes an owner that is alone the only one, to which nothing is joint any more, and adds what the others have
/// written to `written`. False when there are others.
bool settle(const std::byte* block, std::uintptr_t& home, std::uint32_t& written) noexcept;

/// One of several leaves, or the only one of a secret. By value, so that the compiler need not keep a buffer in memory
/// for this.
void release_joint(std::byte* block, std::uintptr_t home, std::uint32_t written) noexcept;

/// An owner leaves that may have written the first `written` bytes, or written_unknown.
[[gnu::always_inline]] inline void release_block(std::byte* block, std::uintptr_t home,
                                                 std::uint32_t written) noexcept {
  // One bit a question: each is an instruction and a jump. Where an owner is made and dies in one function, the
  // compiler knows the answers.
  if ((home & (joint_tag | secret_tag)) != 0) [[unlikely]]
    return release_joint(block, home, written);
  const block_class& of = class_at(home);
  pool_core::clear(of, block, written);
  (home & shared_tag) != 0 ? pool_core::give<true>(of, block) : pool_core::give<false>(of, block);
}

/// An owner and the bytes it looks at. Trivially copyable, so that arrays of them move as memory: whoever
/// has it decides who owns, and calls release().
struct block_part {
  std::byte* block;        // its start; null: owns nothing
  std::uintptr_t home;     // see above
  std::uint32_t offset;    // of the bytes in the block
  std::uint32_t length;    // of the bytes
  std::uint32_t written;   // bytes from the start of the block that this owner may have written
  std::uint32_t capacity;  // of the block

  const std::byte* data() const noexcept { return block + offset; }
  std::size_t size() const noexcept { return length; }
  std::span<const std::byte> span() const noexcept { return {data(), length}; }

  /// What is behind the bytes in the block.
  std::span<std::byte> room() const noexcept { return {block + offset + length, capacity - offset - length}; }

  pool_core& pool() const noexcept { return *class_at(home).pool; }
  bool is_alone() const noexcept { return detail::is_alone(block, home); }
  bool settle() noexcept { return detail::settle(block, home, written); }
  void release() const noexcept { release_block(block, home, written); }
  void clear_on_release() noexcept { home |= secret_tag_for(home); }
  bool clears_on_release() const noexcept { return clears(home); }

  /// Another owner, of `count` of the bytes from `position` on. Throws std::bad_alloc: then nothing has changed.
  block_part share(std::uint32_t position, std::uint32_t count) {
    home = join(block, home);
    return {block, home, offset + position, count, 0, capacity};
  }

  /// The first `count` bytes behind the bytes belong to them now, and were written.
  void extend(std::uint32_t count) noexcept {
    length += count;
    if (written < offset + length) written = offset + length;
  }

  /// An owner of a fresh block that looks at none of it. Throws as basic_pool::acquire().
  static block_part take(pool_core& from, std::size_t capacity_min);
  /// The same; a null `block` where that would throw.
  static block_part try_take(pool_core& from, std::size_t capacity_min) noexcept;
};

/// Throws std::out_of_range, which says "FUNCTION: ASKED bytes of LIMIT".
[[noreturn]] void throw_beyond(const char* function, std::size_t asked, std::size_t limit);
/// The same: "FUNCTION: ASKED bytes at POSITION of LIMIT".
[[noreturn]] void throw_beyond(const char* function, std::size_t position, std::size_t asked, std::size_t limit);

}  // namespace slabbuf::detail
