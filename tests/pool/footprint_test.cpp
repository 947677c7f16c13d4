// SPDX-License-Identifier: MIT
// What pools and live buffers cost in resident memory, as the kernel counts it. A program of its own, so
// that no other test's heap is in the figures.
#include "support/both_pools.hpp"

#include <gtest/gtest.h>

#include <malloc.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace slabbuf {
namespace {

// Anonymous memory of this process. smaps_rollup walks the page tables; the counters in status and statm
// lag by pages for each thread. 0 where the file is not there.
std::size_t anonymous_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kib = 0;
    if (words >> name >> kib && name == "Anonymous:") return kib * 1024;
  }
  return 0;
}

template <class Pool>
class footprint_test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (anonymous_bytes() == 0) GTEST_SKIP() << "/proc/self/smaps_rollup cannot be read";
    Pool().acquire(1).release();  // what a process pays for once: a leaf of the page map, what runs at exit
  }

  void start() {
    // What others left on the heap goes back, or whoever takes it would seem to cost nothing.
    ::malloc_trim(0);
    before_ = anonymous_bytes();
  }

  std::size_t grown_bytes() const { return anonymous_bytes() - before_; }

  void report(const std::string& what, double bytes, double bytes_max) {
    this->RecordProperty(what, std::to_string(bytes));
    std::printf("%s: %.1f bytes, at most %.1f\n", what.c_str(), bytes, bytes_max);
    EXPECT_LE(bytes, bytes_max) << what;
  }

  // What a buffer adds, its part of the slabs' records included: not the handle, which is its owner's, and
  // not the pool, which the test of a fresh one looks at.
  void measure_buffers(std::size_t size) {
    constexpr std::size_t buffer_count = 50'000;
    constexpr double overhead_max = 1.02;
    pool_options options;
    options.backing.huge = huge_pages::never;  // the machine may be set to back one touch with 2 MiB
    Pool pool(options);
    std::vector<buffer> held(buffer_count);
    pool.acquire(size).release();
    start();
    for (buffer& each : held) {
      each = pool.acquire(size);
      const std::span<std::byte> all = each.writable(size);
      for (std::size_t at = 0; at < size; at += page_size()) all[at] = std::byte{1};
    }
    report("resident_bytes_per_buffer_of_" + std::to_string(size), static_cast<double>(grown_bytes()) / buffer_count,
           overhead_max * static_cast<double>(size));
  }

 private:
  std::size_t before_ = 0;
};
TYPED_TEST_SUITE(footprint_test, support::both_pools, support::pool_name);

// With the first block of one class: the slab's record, its page, the thread's cache.
TYPED_TEST(footprint_test, AFreshPoolTakesLessThan64KiB) {
  constexpr double bytes_max = 64 << 10;
  constexpr std::size_t pool_count = 16;  // as many as have a place in a thread
  std::array<std::unique_ptr<TypeParam>, pool_count> pools;
  std::array<buffer, pool_count> held;
  this->start();
  for (std::size_t index = 0; index < pool_count; ++index) {
    pools[index] = std::make_unique<TypeParam>();
    held[index] = pools[index]->acquire(64);
    held[index].data()[0] = std::byte{1};
  }
  this->report("resident_bytes_per_pool", static_cast<double>(this->grown_bytes()) / pool_count, bytes_max);
}

TYPED_TEST(footprint_test, ALiveBufferOf64BytesTakesLittleMore) { this->measure_buffers(64); }
TYPED_TEST(footprint_test, ALiveBufferOf1KiBTakesLittleMore) { this->measure_buffers(1024); }
TYPED_TEST(footprint_test, ALiveBufferOf4KiBTakesLittleMore) { this->measure_buffers(4096); }

}  // namespace
}  // namespace slabbuf
