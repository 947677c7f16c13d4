// SPDX-License-Identifier: MIT
// What a caller may find in a fresh buffer.
// Threads: constants only. Set once per pool, in pool_options.
// Lifetime: the promise holds from acquire() on; what a holder writes is the holder's until release.
//
// Memory arrives zero from the operating system, and whoever gives a block back makes it zero again:
// every free block is zero, and what was in it does not lie about until somebody else comes. What has
// to be cleared is the *written extent*, the prefix that the holder may have changed. The handle keeps
// it, in bytes:
//
//     |<------ written extent ------>|<----------- still zero ----------->|
//     block start                                              class size |
//
// buffer::data() marks all of size(), buffer::writable(n) the first n bytes, buffer::prepare()
// everything until commit(n) says it was n, an Asio read only the bytes that arrived; a raw holder
// (get_buffer) has always written the whole block.
#pragma once

#include <cstdint>

namespace slabbuf {

enum class zeroing : std::uint8_t {
  /// Nothing is cleared: a buffer may show what an earlier holder wrote. The caller overwrites it.
  none,
  /// A block is cleared whole when it comes back, whatever was written to it.
  whole_block,
  /// Only the written extent is cleared. Every byte a caller can reach is zero all the same, unless
  /// somebody wrote where no view allowed it: through a pointer kept from a released buffer, beyond a
  /// writable() view, or more after prepare() than commit() then said.
  dirty_extent,
};

}  // namespace slabbuf
