// SPDX-License-Identifier: MIT
// OpenSSL's memory from a pool, for the whole process: record buffers that come and go without the heap, connections
// in a budget, all of it but ciphertext cleared when it is freed.
// Threads: install it in main(), before any other thread and before whatever makes a context or a certificate. From
// then on OpenSSL may be used on any thread.
// Lifetime: the pool is never destroyed: OpenSSL frees memory until the very end of the process.
//
// OpenSSL says no size when it frees: a block's class is found by its address. What is larger than the largest class,
// or has no room in the budget, comes from the heap and is counted (a handshake half done is worse than a few bytes).
//
//     record buffer   |##### received, or sent #####|............ never written ............| note |
//                                                                                              17,408 B
// A tls_engine notes how far it let a record buffer be written, at the end of the block, so that freeing clears as
// much.
//
// A child of fork() may go on with OpenSSL, and gets everything from the heap: a thread that it has not may have held a
// lock of the pool. What it frees of the pool's is cleared and stays where it is. No other pool can be installed in
// such a child: where children do the work, let their parent leave OpenSSL alone, and each child install a pool of its
// own.
#pragma once

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/pool_options.hpp>

#include <cstddef>
#include <cstdint>

namespace slabbuf::net {

/// Options with the classes that OpenSSL 3's objects fit into; no limit; zeroing::none, as what OpenSSL frees is
/// cleared all the same, but for ciphertext.
pool_options openssl_pool_options();

/// Makes OpenSSL allocate from a pool with these options, made here. Returns it, for its statistics. Throws
/// std::logic_error when it is too late, because OpenSSL has allocated already, or this was called before, be it in a
/// parent; std::bad_alloc; and as the constructor of the pool. Nothing has changed then.
concurrent_pool& install_openssl_allocator(const pool_options& options = openssl_pool_options());

/// The same with a pool of the caller's, so that one budget covers both; it must never be destroyed. Its classes should
/// have one of 17,408 B: a power of two wastes half of it.
void install_openssl_allocator(concurrent_pool& pool);

/// What OpenSSL got from the heap because the pool had none of that size, or no room, or was a parent's.
struct openssl_allocator_stats {
  std::uint64_t oversize;  // allocations larger than the largest class, ever
  std::uint64_t refused;   // allocations the budget had no room for, ever; and all those of a child after fork()
  std::uint64_t in_use;    // of both, not freed yet
};

/// All zero before install_openssl_allocator(). From any thread. A child counts on from what its parent had counted.
openssl_allocator_stats openssl_heap_stats() noexcept;

namespace detail {

/// Of an address in a record buffer of OpenSSL's: it has been written up to there, and no further. Does nothing for
/// addresses elsewhere. What is written to `ciphertext` buffers anybody may see.
enum class record_content { plaintext, ciphertext };
void note_record_written(const void* end, record_content content) noexcept;

}  // namespace detail
}  // namespace slabbuf::net
