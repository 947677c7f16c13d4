// SPDX-License-Identifier: MIT
// What the pools are measured against: the heap, the standard's pools, and the least that any pool must do.
// Threads: one for each object.
// Lifetime: blocks die before what they were taken from.
//
// Each has the shape a benchmark loop expects: constructed from a size_class_table; take(size) returns an
// owner whose data() is the block, and which gives it back when it dies.
#pragma once

#include <slabbuf/pool/size_class.hpp>

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <new>
#include <vector>

namespace slabbuf::bench {

/// Whether a block is cleared before it is handed out, as far as it was asked for.
enum class clearing { none, whole };

/// new and delete: whatever allocator the program runs on.
template <clearing clear>
class heap_blocks {
 public:
  explicit heap_blocks(const size_class_table&) {}

  class block {
   public:
    explicit block(std::size_t size) : bytes_(new std::byte[size]) {}
    std::byte* data() noexcept { return bytes_.get(); }

   private:
    std::unique_ptr<std::byte[]> bytes_;
  };

  block take(std::size_t size) {
    block taken(size);
    if constexpr (clear == clearing::whole) std::memset(taken.data(), 0, size);
    return taken;
  }
};

/// calloc and free: memory that is zero, as a pool's is.
class zeroed_heap_blocks {
 public:
  explicit zeroed_heap_blocks(const size_class_table&) {}

  class block {
   public:
    explicit block(std::size_t size) : bytes_(static_cast<std::byte*>(std::calloc(1, size))) {
      if (bytes_ == nullptr) throw std::bad_alloc();
    }
    std::byte* data() noexcept { return bytes_.get(); }

   private:
    struct free_it {
      void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
    };
    std::unique_ptr<std::byte, free_it> bytes_;
  };

  block take(std::size_t size) { return block(size); }
};

/// std::pmr::unsynchronized_pool_resource or synchronized_pool_resource, with its usual settings but for the
/// largest block it pools: that of the largest class.
template <class Resource>
class pmr_blocks {
 public:
  explicit pmr_blocks(const size_class_table& classes)
      : resource_({.max_blocks_per_chunk = 0, .largest_required_pool_block = classes.largest()}) {}

  class block {
   public:
    block(Resource& from, std::size_t size)
        : from_(from), size_(size), data_(static_cast<std::byte*>(from.allocate(size))) {}
    block(const block&) = delete;
    block& operator=(const block&) = delete;
    ~block() { from_.deallocate(data_, size_); }
    std::byte* data() noexcept { return data_; }

   private:
    Resource& from_;
    std::size_t size_;
    std::byte* data_;
  };

  block take(std::size_t size) { return block(resource_, size); }

 private:
  Resource resource_;
};

/// The limit: a stack of pointers for each class, filled beforehand. It cannot grow, knows no owner, finds no
/// mistake and counts nothing.
template <clearing clear>
class array_blocks {
  struct stack;

 public:
  static constexpr std::size_t blocks_per_class = 128;

  explicit array_blocks(const size_class_table& classes) : classes_(classes), stacks_(classes.count()) {
    for (std::size_t index = 0; index < classes.count(); ++index) {
      for (std::byte*& each : stacks_[index].blocks) {
        memory_.push_back(std::make_unique_for_overwrite<std::byte[]>(classes.size_of(index)));
        each = memory_.back().get();
      }
    }
  }

  class block {
   public:
    block(array_blocks& from, std::size_t size) noexcept : stack_(from.stacks_[from.classes_.index_for(size)]) {
      assert(stack_.count > 0);
      data_ = stack_.blocks[--stack_.count];
      if constexpr (clear == clearing::whole) std::memset(data_, 0, size);
    }
    block(const block&) = delete;
    block& operator=(const block&) = delete;
    ~block() { stack_.blocks[stack_.count++] = data_; }
    std::byte* data() noexcept { return data_; }

   private:
    stack& stack_;
    std::byte* data_;
  };

  block take(std::size_t size) noexcept { return block(*this, size); }

 private:
  struct stack {
    std::array<std::byte*, blocks_per_class> blocks;
    std::size_t count = blocks_per_class;
  };

  size_class_table classes_;
  std::vector<stack> stacks_;                         // by class
  std::vector<std::unique_ptr<std::byte[]>> memory_;  // what the stacks point to
};

}  // namespace slabbuf::bench
