// SPDX-License-Identifier: MIT
// Getting and giving back one buffer at a time: the everyday workloads, pools beside heap and limit.
// Threads: one, so that only the work itself is measured.
// Lifetime: each benchmark makes a pool of its own, and uses it 1,000 times before the clock starts.
//
//     name               what one iteration gets, writes to and gives back
//     BasicAllocation    1, 4, 16, 64 KiB in turn; classes of these sizes
//     HighFrequency      1 KiB; the 20 default classes
//     InexactSizeMatch   512 B, 2, 8, 32 KiB in turn; classes of 1, 4, 16, 64 KiB
//
//     subject                        cleared before it is handed out      written while it is held
//     {local,concurrent}_pool/
//       none                         nothing                              first byte
//       dirty_64B                    the 64 bytes written before          first 64 bytes
//       dirty_all                    all: it was written before           all
//       whole_block                  all                                  first byte
//     new_delete/none, array/none    nothing                              first byte
//     new_delete/memset, array/...   all asked for                        first byte
//     array/memset_all               all asked for                        all
//
// `array` is a stack of pointers for each class: what any pool must do at least.
// Counters: heap_allocations per iteration; hit_rate, the part of acquisitions that a cache served.
#include "baseline/allocation_counter.hpp"
#include "baseline/bench_main.hpp"
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>

#include <string>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

struct workload {
  std::string name;
  std::vector<std::size_t> sizes;  // in turn
  size_class_table classes;
};

std::vector<workload> workloads() {
  const size_class_table four({1 << 10, 4 << 10, 16 << 10, 64 << 10});
  return {
      {"BasicAllocation", {1 << 10, 4 << 10, 16 << 10, 64 << 10}, four},
      {"HighFrequency", {1 << 10}, {}},
      {"InexactSizeMatch", {512, 2 << 10, 8 << 10, 32 << 10}, four},
  };
}

// What a pool did between two snapshots.
double hit_rate(const pool_stats& before, const pool_stats& after) {
  const auto acquired = static_cast<double>(after.acquired - before.acquired);
  return acquired == 0 ? 0 : static_cast<double>(after.hits - before.hits) / acquired;
}

// The loop every subject goes through.
template <class Subject>
void run(benchmark::State& state, const workload& load) {
  constexpr int warm_up_rounds = 1000;
  Subject subject(load.classes);
  const std::size_t* const sizes = load.sizes.data();
  const std::size_t count = load.sizes.size();
  for (int round = 0; round < warm_up_rounds; ++round) {
    for (std::size_t index = 0; index < count; ++index) [[maybe_unused]] auto taken = subject.take(sizes[index]);
  }
  const auto stats_before = subject.stats();
  const std::uint64_t allocations_before = allocations_of_this_thread();

  std::size_t index = 0;
  for ([[maybe_unused]] auto _ : state) {
    [[maybe_unused]] auto taken = subject.take(sizes[index]);
    index = index + 1 == count ? 0 : index + 1;
  }

  const auto allocations = static_cast<double>(allocations_of_this_thread() - allocations_before);
  const auto stats_after = subject.stats();
  if (allocation_counting_available()) {
    state.counters["heap_allocations"] = allocations / static_cast<double>(state.iterations());
  }
  if (stats_before && stats_after) state.counters["hit_rate"] = hit_rate(*stats_before, *stats_after);
}

template <class Subject>
void add(const workload& load, const char* subject) {
  benchmark::RegisterBenchmark((load.name + "/" + subject).c_str(), run<Subject>, load);
}

template <class Pool>
void add_pool(const workload& load, const std::string& pool) {
  add<pool_subject<Pool, zeroing::none, writing::first_byte>>(load, (pool + "/none").c_str());
  add<pool_subject<Pool, zeroing::dirty_extent, writing::first_64>>(load, (pool + "/dirty_64B").c_str());
  add<pool_subject<Pool, zeroing::dirty_extent, writing::all>>(load, (pool + "/dirty_all").c_str());
  add<pool_subject<Pool, zeroing::whole_block, writing::first_byte>>(load, (pool + "/whole_block").c_str());
}

void add_all() {
  for (const workload& load : workloads()) {
    add_pool<local_pool>(load, "local_pool");
    add_pool<concurrent_pool>(load, "concurrent_pool");
    add<block_subject<heap_blocks<clearing::none>, writing::first_byte>>(load, "new_delete/none");
    add<block_subject<heap_blocks<clearing::whole>, writing::first_byte>>(load, "new_delete/memset");
    add<block_subject<array_blocks<clearing::none>, writing::first_byte>>(load, "array/none");
    add<block_subject<array_blocks<clearing::whole>, writing::first_byte>>(load, "array/memset");
    add<block_subject<array_blocks<clearing::whole>, writing::all>>(load, "array/memset_all");
  }
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argument_count, char** arguments) {
  slabbuf::bench::add_all();
  return slabbuf::bench::run_benchmarks("seed_bench", argument_count, arguments);
}
