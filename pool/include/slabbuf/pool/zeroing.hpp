// SPDX-License-Identifier: MIT
// What a caller may find in a fresh buffer.
// Threads: constants only. Set once per pool, in pool_options.
// Lifetime: the promise holds from acquire() on; what a holder writes is the holder's until release.
//
// Memory arrives zero from the operating system, so "clear it" means "clear what may have been
// written since". A block's *written extent* is the prefix that earlier holders may have changed,
// in units of 64 B. It is kept beside the block, never inside it:
//
//     |<------ written extent ------>|<----------- still zero ----------->|
//     block start                                              class size |
//
// buffer::data() marks all of size(), buffer::writable(n) the first n bytes, an Asio read only the
// bytes that arrived, a raw holder (get_buffer) the whole block. The mark travels with the block
// into the pool, and the next acquire() clears just that prefix.
#pragma once

namespace slabbuf {

enum class zeroing {
  /// Nothing is cleared: a buffer may show what an earlier holder wrote. The caller overwrites it.
  none,
  /// A block that was used before is cleared whole, whatever was written to it.
  whole_block,
  /// Only the written extent is cleared. Every byte a caller can reach is zero all the same, unless
  /// somebody wrote through a pointer kept from a released buffer or beyond a writable() view.
  dirty_extent,
};

}  // namespace slabbuf
