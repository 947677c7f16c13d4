// SPDX-License-Identifier: MIT
// One question: what does it cost when buffers are got on one thread and given back on another, as when
// a reader hands what it read to a worker?
//
//     CrossThread/SUBJECT     a producer gets 4 KiB and touches them, a consumer gives them back; a ring of
//                             256 between them, so that neither runs away
//
// `array` hands pointers to blocks round, `array_handles` 24 bytes for each, as a buffer has: what the ring costs
// before anything is allocated. `concurrent_pool` sends buffers, `concurrent_pool_address` pointers, like the heap.
//
// Time is wall time per buffer, both threads running.
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/pmr_resource.hpp>

#include <benchmark/benchmark.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <memory_resource>
#include <thread>
#include <utility>

namespace slabbuf::bench {
namespace {

constexpr std::size_t block_bytes = 4096;

// One producer, one consumer; each looks at the other's end only when its own view says full or empty.
template <class T>
class ring {
 public:
  void push(T value) {
    const std::size_t at = pushed_.load(std::memory_order_relaxed);
    while (at - seen_popped_ == slots_.size()) {
      seen_popped_ = popped_.load(std::memory_order_acquire);
      if (at - seen_popped_ == slots_.size()) std::this_thread::yield();
    }
    slots_[at % slots_.size()] = std::move(value);
    pushed_.store(at + 1, std::memory_order_release);
  }
  T pop() {
    const std::size_t at = popped_.load(std::memory_order_relaxed);
    while (at == seen_pushed_) {
      seen_pushed_ = pushed_.load(std::memory_order_acquire);
      if (at == seen_pushed_) std::this_thread::yield();
    }
    T value = std::move(slots_[at % slots_.size()]);
    popped_.store(at + 1, std::memory_order_release);
    return value;
  }

 private:
  std::array<T, 256> slots_{};
  alignas(64) std::atomic<std::size_t> pushed_{0};
  std::size_t seen_popped_ = 0;
  alignas(64) std::atomic<std::size_t> popped_{0};
  std::size_t seen_pushed_ = 0;
};

// The least possible. More blocks than can be on their way, in turn; `Owner` is made of a pointer.
template <class Owner>
struct array_source {
  using owner = Owner;
  owner get() {
    std::byte* const got = blocks.get() + next++ % 512 * block_bytes;
    *got = std::byte{1};
    return owner(got);
  }
  std::unique_ptr<std::byte[]> blocks{new std::byte[512 * block_bytes]};
  std::size_t next = 0;
};

struct nothing {
  void operator()(std::byte*) const noexcept {}
};
using pointer = std::unique_ptr<std::byte, nothing>;

// As large as a buffer, and empty when it has been moved from.
struct handle {
  handle() = default;
  explicit handle(std::byte* block) noexcept : data(block), rest{1, 1} {}
  handle(handle&& other) noexcept
      : data(std::exchange(other.data, nullptr)),
        rest{std::exchange(other.rest[0], 0), std::exchange(other.rest[1], 0)} {}
  handle& operator=(handle&& other) noexcept {
    data = std::exchange(other.data, nullptr);
    rest[0] = std::exchange(other.rest[0], 0);
    rest[1] = std::exchange(other.rest[1], 0);
    return *this;
  }
  ~handle() = default;
  explicit operator bool() const noexcept { return data != nullptr; }

  std::byte* data = nullptr;
  std::size_t rest[2]{};
};
static_assert(sizeof(handle) == sizeof(buffer));

struct pool_source {
  using owner = buffer;
  buffer get() {
    buffer got = pool.acquire(block_bytes);
    got.data()[0] = std::byte{1};
    return got;
  }
  concurrent_pool pool{{.zero = zeroing::none}};
};

struct address_source {
  struct give_back {
    void operator()(std::byte* block) const { resource->deallocate(block, block_bytes); }
    static inline pmr_resource* resource = nullptr;
  };
  using owner = std::unique_ptr<std::byte, give_back>;
  address_source() { give_back::resource = &addresses; }
  owner get() {
    owner got(static_cast<std::byte*>(addresses.allocate(block_bytes)));
    *got = std::byte{1};
    return got;
  }
  concurrent_pool pool{{.zero = zeroing::none}};
  pmr_resource addresses{pool};
};

struct heap_source {
  using owner = std::unique_ptr<std::byte[]>;
  owner get() {
    owner got(new std::byte[block_bytes]);
    got[0] = std::byte{1};
    keep(got.get());
    return got;
  }
};

struct pmr_source {
  struct give_back {
    std::pmr::memory_resource* to = nullptr;
    void operator()(std::byte* block) const { to->deallocate(block, block_bytes); }
  };
  using owner = std::unique_ptr<std::byte, give_back>;
  owner get() {
    owner got(static_cast<std::byte*>(resource.allocate(block_bytes)), {&resource});
    *got = std::byte{1};
    return got;
  }
  std::pmr::synchronized_pool_resource resource{{.max_blocks_per_chunk = 0, .largest_required_pool_block = 1 << 20}};
};

template <class Source>
void cross_thread(benchmark::State& state) {
  Source source;
  const auto between = std::make_unique<ring<typename Source::owner>>();
  std::thread consumer([&] {
    while (between->pop()) {
    }
  });
  for ([[maybe_unused]] auto _ : state) between->push(source.get());
  between->push({});
  consumer.join();
}

BENCHMARK(cross_thread<array_source<pointer>>)->Name("CrossThread/array/none")->UseRealTime();
BENCHMARK(cross_thread<array_source<handle>>)->Name("CrossThread/array_handles/none")->UseRealTime();
BENCHMARK(cross_thread<pool_source>)->Name("CrossThread/concurrent_pool/none")->UseRealTime();
BENCHMARK(cross_thread<address_source>)->Name("CrossThread/concurrent_pool_address/none")->UseRealTime();
BENCHMARK(cross_thread<heap_source>)->Name("CrossThread/new_delete/none")->UseRealTime();
BENCHMARK(cross_thread<pmr_source>)->Name("CrossThread/pmr_synchronized/none")->UseRealTime();

}  // namespace
}  // namespace slabbuf::bench
