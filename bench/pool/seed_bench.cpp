// SPDX-License-Identifier: MIT
// The 16 benchmarks of the Go allocator that inspired this project, by name: the everyday workloads,
// pools beside heap, standard library and limit.
// Threads: one, so that only the work itself is measured.
// Lifetime: each benchmark makes a pool of its own, and uses it before the clock starts.
//
//     name                 what is got, written to and given back          classes
//     BasicAllocation      1, 4, 16, 64 KiB in turn                        1, 4, 16, 64 KiB
//     DirectAllocation     the same from the heap, cleared by calloc       -
//     SmallBuffers         64, 128, 256, 512 B in turn                     the 20 default ones
//     LargeBuffers         64, 128, 256, 512 KiB in turn                   64, 128, 256, 512 KiB
//     ExactSizeMatch       1, 4, 16, 64 KiB in turn                        1, 4, 16, 64 KiB
//     InexactSizeMatch     512 B, 2, 8, 32 KiB in turn                     1, 4, 16, 64 KiB
//     OversizedAllocation  128, 256, 512 KiB, 1 MiB in turn                1, 4, 16, 64 KiB
//     HighFrequency        1 KiB                                           the 20 default ones
//     BatchReuse           50 x 1 KiB and 50 x 4 KiB held, then all back   the 20 default ones
//     MixedSizes           half 64..256 B, 3 of 10 1..4 KiB, 2 of 10       the 20 default ones
//                          16..64 KiB, at random
//     DefaultConfig        2 B .. 1 MiB, each class in turn                the 20 default ones
//     MemoryPressure       50 x 4 KiB got, 25 put, the rest put, and a     the 20 default ones
//                          trim every 100 rounds
//     Comparison_SyncPool  1 KiB, beside std::pmr::synchronized_pool_resource
//     FindSizeClass, FindSizeClassExact, GetStats: the call alone
//
// Time is per buffer (per call for the last three), whatever the shape of the workload.
//
//     subject                        cleared                               written while it is held
//     {local,concurrent}_pool/
//       none                         nothing                               first byte
//       dirty_64B                    the 64 bytes written                  first 64 bytes
//       dirty_all                    all: it was written                   all
//       whole_block                  all                                   first byte
//     raw/none                       nothing (get_buffer, put_buffer)      first byte
//     new_delete/none, array/none,
//     pmr_{un,}synchronized/none     nothing                               first byte
//     new_delete/memset, array/...   all asked for                         first byte
//     array/memset_all               all asked for                         all
//
// `array` is a stack of pointers for each class: what any pool must do at least.
// Counters: heap_allocations and heap_bytes per buffer; hit_rate, the part of acquisitions that a cache
// served.
#include "baseline/allocation_counter.hpp"
#include "baseline/bench_main.hpp"
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"
#include "pool/workload.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>

#include <memory_resource>
#include <string>
#include <vector>

namespace slabbuf::bench {
namespace {

// What a pool did between two snapshots.
double hit_rate(const pool_stats& before, const pool_stats& after) {
  const auto acquired = static_cast<double>(after.acquired - before.acquired);
  return acquired == 0 ? 0 : static_cast<double>(after.hits - before.hits) / acquired;
}

// One buffer at a time.
template <class Subject>
void take_in_turn(benchmark::State& state, Subject& subject, const workload& load) {
  const std::size_t* const sizes = load.sizes.data();
  const std::size_t count = load.sizes.size();
  std::size_t index = 0;
  for ([[maybe_unused]] auto _ : state) {
    [[maybe_unused]] auto taken = subject.take(sizes[index]);
    index = index + 1 == count ? 0 : index + 1;
  }
}

// All of them held, then all given back; or, under pressure, half of them before the rest is taken.
template <class Subject>
void take_together(benchmark::State& state, Subject& subject, const workload& load) {
  const std::size_t count = load.sizes.size();
  std::vector<holder<decltype(subject.take(0))>> held(count);
  std::uint64_t rounds = 0;
  while (state.KeepRunningBatch(static_cast<std::int64_t>(count))) {
    for (std::size_t index = 0; index < count; ++index) held[index].take(subject, load.sizes[index]);
    if (load.shape == shape::pressure) {
      for (std::size_t index = 0; index < count; index += 2) held[index].reset();
      if (++rounds % 100 == 0) subject.trim();
    }
    for (auto& each : held) each.reset();
  }
}

template <class Subject>
void run(benchmark::State& state, const workload& load) {
  Subject subject(load.classes);
  {
    // Caches and slabs as they are in steady state, without the clock.
    std::vector<holder<decltype(subject.take(0))>> held(load.shape == shape::in_turn ? 1 : load.sizes.size());
    for (std::size_t step = 0; step < 2000; ++step) {
      held[step % held.size()].take(subject, load.sizes[step % load.sizes.size()]);
    }
  }
  const auto stats_before = subject.stats();
  const heap_use before = heap_use_of_this_thread();
  load.shape == shape::in_turn ? take_in_turn(state, subject, load) : take_together(state, subject, load);
  const heap_use after = heap_use_of_this_thread();
  const auto stats_after = subject.stats();

  const auto buffers = static_cast<double>(state.iterations());
  if (allocation_counting_available()) {
    state.counters["heap_allocations"] = static_cast<double>(after.allocations - before.allocations) / buffers;
    state.counters["heap_bytes"] = static_cast<double>(after.bytes - before.bytes) / buffers;
  }
  if (stats_before && stats_after) state.counters["hit_rate"] = hit_rate(*stats_before, *stats_after);
}

template <class Subject>
void add(const workload& load, const std::string& subject) {
  benchmark::RegisterBenchmark((load.name + "/" + subject).c_str(), run<Subject>, load);
}

template <class Pool>
void add_pool(const workload& load, const std::string& pool) {
  add<pool_subject<Pool, zeroing::none, writing::first_byte>>(load, pool + "/none");
  add<pool_subject<Pool, zeroing::dirty_extent, writing::first_64>>(load, pool + "/dirty_64B");
  add<pool_subject<Pool, zeroing::dirty_extent, writing::all>>(load, pool + "/dirty_all");
  add<pool_subject<Pool, zeroing::whole_block, writing::first_byte>>(load, pool + "/whole_block");
}

void add_rivals(const workload& load) {
  add<block_subject<heap_blocks<clearing::none>, writing::first_byte>>(load, "new_delete/none");
  add<block_subject<heap_blocks<clearing::whole>, writing::first_byte>>(load, "new_delete/memset");
  add<block_subject<pmr_blocks<std::pmr::unsynchronized_pool_resource>, writing::first_byte>>(
      load, "pmr_unsynchronized/none");
  add<block_subject<pmr_blocks<std::pmr::synchronized_pool_resource>, writing::first_byte>>(load,
                                                                                            "pmr_synchronized/none");
  if (load.sizes.front() > load.classes.largest()) return;  // an array has no oversize
  add<block_subject<array_blocks<clearing::none>, writing::first_byte>>(load, "array/none");
  add<block_subject<array_blocks<clearing::whole>, writing::first_byte>>(load, "array/memset");
  add<block_subject<array_blocks<clearing::whole>, writing::all>>(load, "array/memset_all");
}

void find_size_class(benchmark::State& state) {
  const size_class_table classes;
  const std::vector<std::size_t> sizes = mixed_sizes();
  std::size_t index = 0;
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(classes.find(sizes[index]));
    index = (index + 1) % 1024;
  }
}

void find_size_class_exact(benchmark::State& state) {
  const size_class_table classes;
  std::size_t size = 2;
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(classes.find_exact(size));
    size = size == std::size_t{1} << 20 ? 2 : 2 * size;
  }
}

template <class Pool>
void get_stats(benchmark::State& state) {
  Pool pool;
  pool.acquire(1024).release();
  for ([[maybe_unused]] auto _ : state) {
    const pool_stats now = pool.stats();
    keep(&now);
  }
}

void add_all() {
  for (const workload& load : workloads()) {
    if (load.name == "DirectAllocation") {
      add<block_subject<zeroed_heap_blocks, writing::first_byte>>(load, "calloc_free/zero");
      add<block_subject<heap_blocks<clearing::none>, writing::first_byte>>(load, "new_delete/none");
      continue;
    }
    add_pool<local_pool>(load, "local_pool");
    add_pool<concurrent_pool>(load, "concurrent_pool");
    add<raw_subject<concurrent_pool>>(load, "raw/none");
    add_rivals(load);
  }
  benchmark::RegisterBenchmark("FindSizeClass", find_size_class);
  benchmark::RegisterBenchmark("FindSizeClassExact", find_size_class_exact);
  benchmark::RegisterBenchmark("GetStats/local_pool", get_stats<local_pool>);
  benchmark::RegisterBenchmark("GetStats/concurrent_pool", get_stats<concurrent_pool>);
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argument_count, char** arguments) {
  slabbuf::bench::add_all();
  return slabbuf::bench::run_benchmarks("seed_bench", argument_count, arguments);
}
