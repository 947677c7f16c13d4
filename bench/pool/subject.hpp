// SPDX-License-Identifier: MIT
// What a benchmark runs on: somewhere blocks come from, together with what the user writes into each.
// Threads: one for each subject.
// Lifetime: blocks die before the subject they were taken from.
#pragma once

#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/stats.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
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
    case writing::first_64: std::memset(data, 1, std::min<std::size_t>(size, 64)); break;
    case writing::all: std::memset(data, 1, size); break;
  }
  keep(data);
}

/// A local_pool or a concurrent_pool.
template <class Pool, zeroing zero, writing what>
class pool_subject {
 public:
  explicit pool_subject(const size_class_table& classes) : pool_(options(classes)) {}

  auto take(std::size_t size) {
    auto taken = pool_.acquire(size);
    // data() would say that all was written, and the whole block would be cleared for the next holder.
    if constexpr (what == writing::first_64) {
      write(taken.writable(std::min<std::size_t>(size, 64)).data(), size, what);
    } else {
      write(taken.data(), size, what);
    }
    return taken;
  }

  std::optional<pool_stats> stats() const { return pool_.stats(); }

 private:
  static pool_options options(const size_class_table& classes) {
    pool_options chosen;
    chosen.size_classes = classes;
    chosen.zero = zero;
    return chosen;
  }

  Pool pool_;
};

/// One of baseline/blocks.hpp.
template <class Blocks, writing what>
class block_subject {
 public:
  explicit block_subject(const size_class_table& classes) : blocks_(classes) {}

  auto take(std::size_t size) {
    struct written_block {
      written_block(Blocks& from, std::size_t asked) : block(from.take(asked)) { write(block.data(), asked, what); }
      decltype(std::declval<Blocks&>().take(0)) block;
    };
    return written_block(blocks_, size);
  }

  std::optional<pool_stats> stats() const { return std::nullopt; }

 private:
  Blocks blocks_;
};

}  // namespace slabbuf::bench
