// SPDX-License-Identifier: MIT
// What a benchmark runs on: somewhere blocks come from, together with what the user writes into each.
// Threads: one for each subject.
// Lifetime: blocks die before the subject they were taken from.
//
// take() is always inlined, of pools and of rivals alike: where it was not, compilers made a call of it for some
// subjects, and what they then measured was a buffer returned through memory.
#pragma once

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/stats.hpp>

#include <cstddef>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

namespace slabbuf::bench {

/// What is written into a block while it is held.
enum class writing {
  first_byte,  // one touch
  first_64,    // as a short message would be; a pool is told by writable(64)
  all,         // every byte asked for
};

/// The compiler must believe that somebody reads what is at `data`.
inline void keep(const void* data) noexcept { asm volatile("" : : "r"(data) : "memory"); }

inline void write(std::byte* data, std::size_t size, writing what) noexcept {
  keep(data);  // or the compiler leaves out the clearing of what is about to be written
  switch (what) {
    case writing::first_byte: *data = std::byte{1}; break;
    case writing::first_64: size >= 64 ? std::memset(data, 1, 64) : std::memset(data, 1, size); break;
    case writing::all: std::memset(data, 1, size); break;
  }
  keep(data);
}

/// Room for one block that need not be movable: what take() returns is made in place.
template <class Taken>
class holder {
 public:
  holder() noexcept {}  // NOLINT(modernize-use-equals-default): that would be deleted, for the union
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;
  ~holder() { reset(); }

  template <class Subject>
  void take(Subject& subject, std::size_t size) {
    reset();
    ::new (static_cast<void*>(&taken_)) Taken(subject.take(size));
    full_ = true;
  }
  void reset() noexcept {
    if (std::exchange(full_, false)) taken_.~Taken();
  }

 private:
  union {
    Taken taken_;
  };
  bool full_ = false;
};

/// A local_pool or a concurrent_pool.
template <class Pool, zeroing zero, writing what>
class pool_subject {
 public:
  explicit pool_subject(const size_class_table& classes, pool_options chosen = {}) : pool_(options(classes, chosen)) {}

  [[gnu::always_inline]] auto take(std::size_t size) {
    auto taken = pool_.acquire(size);
    // data() would say that all was written, and the whole block would be cleared for the next holder.
    if constexpr (what == writing::first_64) {
      write(taken.writable(taken.size() >= 64 ? 64 : taken.size()).data(), taken.size(), what);
    } else {
      write(taken.data(), size, what);
    }
    return taken;
  }

  std::optional<pool_stats> stats() const { return pool_.stats(); }
  void trim() { pool_.trim(); }

 private:
  static pool_options options(const size_class_table& classes, pool_options chosen) {
    chosen.size_classes = classes;
    chosen.zero = zero;
    return chosen;
  }

  Pool pool_;
};

/// The pair without an owner, of a pool that clears nothing.
template <class Pool>
class raw_subject {
 public:
  explicit raw_subject(const size_class_table& classes) : pool_({.size_classes = classes, .zero = zeroing::none}) {}

  [[gnu::always_inline]] auto take(std::size_t size) {
    struct owner {
      owner(Pool& from, std::size_t asked) : pool(from), block(from.get_buffer(asked)) {
        write(block.data, asked, writing::first_byte);
      }
      owner(const owner&) = delete;
      owner& operator=(const owner&) = delete;
      ~owner() { pool.put_buffer(block); }
      Pool& pool;
      raw_buffer block;
    };
    return owner(pool_, size);
  }

  std::optional<pool_stats> stats() const { return pool_.stats(); }
  void trim() { pool_.trim(); }

 private:
  Pool pool_;
};

/// One of baseline/blocks.hpp.
template <class Blocks, writing what>
class block_subject {
 public:
  explicit block_subject(const size_class_table& classes) : blocks_(classes) {}

  [[gnu::always_inline]] auto take(std::size_t size) {
    struct written_block {
      written_block(Blocks& from, std::size_t asked) : block(from.take(asked)) { write(block.data(), asked, what); }
      decltype(std::declval<Blocks&>().take(0)) block;
    };
    return written_block(blocks_, size);
  }

  std::optional<pool_stats> stats() const { return std::nullopt; }
  void trim() {}

 private:
  Blocks blocks_;
};

}  // namespace slabbuf::bench
