// SPDX-License-Identifier: MIT
#include <slabbuf/net/openssl_allocator.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>

namespace slabbuf::net {
namespace {

using slabbuf::detail::page_map;
using slabbuf::detail::pool_core;
using slabbuf::detail::slab;

// As malloc's.
constexpr std::size_t alignment = alignof(std::max_align_t);

// Holds a record buffer: 16,384 B, header, padding, tag and alignment.
constexpr std::size_t record_class_size = 17408;

// In the last bytes of a block of that class. 0: nobody knows how far it was written.
using record_note = std::uint64_t;

// Null before the installation, and for ever in a child of fork(): whoever held a lock of the pool is not there to open
// it. So what a child frees of the pool's stays where it is.
std::atomic<pool_core*> installed{nullptr};
std::atomic<bool> is_installed{false};  // or was, in a child
// Whether there is a pool, and all of its classes that are used are aligned as malloc's blocks.
std::atomic<bool> takes_directly{false};
std::atomic<std::uint64_t> heap_oversize{0};
std::atomic<std::uint64_t> heap_refused{0};
std::atomic<std::uint64_t> heap_in_use{0};

record_note& note_of(std::byte* block) noexcept {
  return *reinterpret_cast<record_note*>(block + record_class_size - sizeof(record_note));
}

void* take_from_heap(std::size_t bytes, std::atomic<std::uint64_t>& why) noexcept {
  void* const got = std::malloc(bytes);
  if (got != nullptr) {
    why.fetch_add(1, std::memory_order_relaxed);
    heap_in_use.fetch_add(1, std::memory_order_relaxed);
  }
  return got;
}

// The size to ask for, so that the block is aligned: where a class of less than 64 B is not, that of the next one.
std::size_t aligned_size(const pool_core& pool, std::size_t bytes) noexcept {
  const size_class_table& classes = pool.size_classes();
  for (std::size_t index = classes.find(bytes); index < classes.count(); ++index)
    if (pool.alignment_of(classes.size_of(index)) >= alignment) return classes.size_of(index);
  return classes.largest() + 1;
}

void* take(std::size_t bytes) noexcept {
  pool_core* const from = installed.load(std::memory_order_relaxed);
  // Behind what fills a record block nearly up, there would be no room for the note.
  constexpr std::size_t record_bytes_max = record_class_size - sizeof(record_note);
  const bool leaves_no_note = bytes > record_bytes_max && bytes <= record_class_size;
  std::size_t size = leaves_no_note ? record_class_size + 1 : std::max(bytes, alignment);
  if (!takes_directly.load(std::memory_order_relaxed)) [[unlikely]] {
    if (from == nullptr) return take_from_heap(bytes, heap_refused);
    size = aligned_size(*from, size);
  }
  pool_core& pool = *from;
  if (size > pool.size_classes().largest()) return take_from_heap(bytes, heap_oversize);
  pool_core::taken got{};
  if (!pool.take<true>(size, got)) got = pool.take_slow(size);
  if (got.data == nullptr) return take_from_heap(bytes, heap_refused);
  if (got.of->size == record_class_size) note_of(got.data) = 0;
  return got.data;
}

void* allocate(std::size_t bytes, const char*, int) noexcept { return bytes != 0 ? take(bytes) : nullptr; }

// Where `memory` lies; null when it is from the heap. Needs no lock, as a child must not: the entry of a block that is
// out does not change, nor does what it says of the block.
const slab* slab_of(const void* memory) noexcept { return page_map::find(memory); }

void clear_and_free(void* memory, const char*, int) noexcept {
  if (memory == nullptr) return;
  auto* const block = static_cast<std::byte*>(memory);
  const slab* const in = slab_of(memory);
  if (in == nullptr) {
    std::memset(memory, 0, ::malloc_usable_size(memory));
    asm volatile("" : : "r"(memory) : "memory");  // or the compiler drops what nobody reads before free()
    heap_in_use.fetch_sub(1, std::memory_order_relaxed);
    std::free(memory);
    return;
  }
  if (installed.load(std::memory_order_relaxed) == nullptr) [[unlikely]] {
    std::memset(block, 0, in->owner->size);  // all of it: nobody notes in a child how far a record was written
    return;
  }
  std::size_t written = in->owner->size;
  if (written == record_class_size) {
    record_note& note = note_of(block);
    if (note != 0) written = static_cast<std::size_t>(note);
    note = 0;
  }
  // The pool clears what was written, unless it clears nothing.
  if (in->owner->clear == zeroing::none) std::memset(block, 0, written);
  pool_core::give_by_address(block, written);
}

void* reallocate(void* memory, std::size_t bytes, const char* file, int line) noexcept {
  if (memory == nullptr) return allocate(bytes, file, line);
  if (bytes == 0) {
    clear_and_free(memory, file, line);
    return nullptr;
  }
  const slab* const in = slab_of(memory);
  std::size_t there = in != nullptr ? in->owner->size : ::malloc_usable_size(memory);
  if (there == record_class_size && in != nullptr) {
    note_of(static_cast<std::byte*>(memory)) = 0;  // whoever resizes it may write to all of it
    there -= sizeof(record_note);
  }
  if (bytes <= there && bytes > there / 2) return memory;
  void* const moved = allocate(bytes, file, line);
  if (moved == nullptr) return bytes <= there ? memory : nullptr;
  std::memcpy(moved, memory, std::min(there, bytes));
  clear_and_free(memory, file, line);
  return moved;
}

// Once; throws std::bad_alloc. The handler is called early among those of a child, before any that might use OpenSSL,
// as nobody has used it yet.
void guard_against_fork() {
  static const bool guarded = [] {
    const auto in_child = [] {
      installed.store(nullptr, std::memory_order_relaxed);
      takes_directly.store(false, std::memory_order_relaxed);
    };
    if (::pthread_atfork(nullptr, nullptr, in_child) != 0) throw std::bad_alloc();
    return true;
  }();
  static_cast<void>(guarded);
}

}  // namespace

pool_options openssl_pool_options() {
  pool_options options;
  options.zero = zeroing::none;
  options.block_alignment = alignment;
  // What a connection keeps fits exactly, but for the alignment: 64 a lock, 80 and 224 a SHA-384 state, 112 and 128
  // what it verifies and signs with, 160 a key, 192 and 960 an AES-GCM state, 544 its certificate, 928 its session,
  // 7,616 itself (bench's tls_objects lists them). 17,408 is a record buffer, 21,888 the messages of a handshake.
  options.size_classes = {16,   32,   48,   64,   80,   96,   112,  128,   144,   160,   192,   224,   256,
                          320,  384,  448,  512,  544,  640,  768,  896,   928,   960,   1024,  1280,  1536,
                          2048, 3072, 4096, 5120, 6144, 7616, 8192, 10240, 12288, 14336, 17408, 21888, 32768};
  return options;
}

void install_openssl_allocator(concurrent_pool& pool) {
  guard_against_fork();
  if (is_installed.exchange(true)) throw std::logic_error("slabbuf::net::install_openssl_allocator: was called before");
  const size_class_table& classes = pool.core().size_classes();
  bool aligned = true;
  for (std::size_t index = classes.find(alignment); index < classes.count(); ++index)
    aligned = aligned && pool.core().alignment_of(classes.size_of(index)) >= alignment;
  takes_directly.store(aligned);
  installed.store(&pool.core());
  if (CRYPTO_set_mem_functions(&allocate, &reallocate, &clear_and_free) != 1) {
    installed.store(nullptr);
    is_installed.store(false);
    throw std::logic_error(
        "slabbuf::net::install_openssl_allocator: too late, OpenSSL has allocated memory already; call it first in "
        "main()");
  }
}

concurrent_pool& install_openssl_allocator(const pool_options& options) {
  static concurrent_pool* kept = nullptr;  // for whoever looks for leaks
  auto made = std::make_unique<concurrent_pool>(options);
  install_openssl_allocator(*made);
  kept = made.release();
  return *kept;
}

openssl_allocator_stats openssl_heap_stats() noexcept {
  return {heap_oversize.load(std::memory_order_relaxed), heap_refused.load(std::memory_order_relaxed),
          heap_in_use.load(std::memory_order_relaxed)};
}

namespace detail {

void note_record_written(const void* end, record_content content) noexcept {
  const pool_core* const pool = installed.load(std::memory_order_relaxed);
  if (pool == nullptr) return;
  const auto* const last = static_cast<const std::byte*>(end) - 1;
  const slab* const in = slab_of(last);
  if (in == nullptr || in->owner->size != record_class_size || in->owner->pool != pool) return;
  const std::size_t index = static_cast<std::size_t>(last - in->base) / in->stride;
  std::byte* const block = in->base + index * in->stride;
  record_note& note = note_of(block);
  // Nothing need be cleared of ciphertext, unless the pool promises to; 0 would mean that nobody knows.
  const bool stays = content == record_content::ciphertext && in->owner->clear == zeroing::none;
  note = std::max(note, stays ? record_note{1} : static_cast<record_note>(last + 1 - block));
}

}  // namespace detail
}  // namespace slabbuf::net
