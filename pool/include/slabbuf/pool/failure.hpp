// SPDX-License-Identifier: MIT
// What the pool does when it is misused: one report, handed to one replaceable handler.
// Threads: the handler may be called from, and be set on, any thread.
// It may be called while locks of the pool are held: it must not use any pool.
// Lifetime: a report and its strings live until the handler returns; the handler must not return
// to a caller who expects the misuse mended, so whatever it does, the process is aborted after it.
//
// Misuse is a bug in the program. What a correct program must expect (no budget left, no memory
// left) is never reported here: it is an empty handle or an exception, see pool_options.hpp.
#pragma once

#include <slabbuf/pool/provenance.hpp>

#include <cstddef>

namespace slabbuf {

enum class misuse {
  foreign_pointer,   // the address belongs to no pool
  other_pool,        // the address belongs to another pool
  not_a_block,       // the address is inside a block, not at its start
  size_mismatch,     // the size given back is larger than the block
  double_put,        // the block is in the pool already, or its owner did not get it by get_buffer()
  overrun,           // bytes were written behind a block, or behind what was handed out for writing
  use_after_return,  // a free block was written to
  pool_died_in_use,  // the pool was destroyed while buffers were out
};

/// The name of a misuse, as an identifier: "foreign_pointer". Never null.
const char* to_string(misuse kind) noexcept;

struct misuse_report {
  misuse kind;
  const void* address;     // the offending block or pool; the pool, too, where a double_put is found when it ends
  std::size_t size_bytes;  // what the caller said, 0 where nobody did; for pool_died_in_use, blocks in use
  std::size_t class_size;  // capacity of the block in bytes, 0 where none is known
  // Who has, or last had, the block, of those who were sampled (pool_options::sample_period); where not all
  // are and the pool is not hardened, somebody else may have had it since. For pool_died_in_use, who has
  // had one the longest. Null when nobody is known.
  const provenance* sampled = nullptr;
  std::size_t waiting = 0;  // for pool_died_in_use: how many wait for the budget (net::async_acquire)
};

using misuse_handler = void (*)(const misuse_report&) noexcept;

/// Replaces the handler and returns the one before it; null restores the default, which writes one
/// line to stderr, and where the block was acquired when that was sampled. The process is aborted when a handler
/// returns.
misuse_handler set_misuse_handler(misuse_handler handler) noexcept;

namespace detail {

[[noreturn]] void report_misuse(const misuse_report& report) noexcept;

}  // namespace detail
}  // namespace slabbuf
