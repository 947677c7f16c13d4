// SPDX-License-Identifier: MIT
// One question: what does it cost that a buffer is zero when it is got?
//
//     Zeroing/SUBJECT/written:W/size:S     a buffer of S bytes of which W are written, on a concurrent_pool
//
// The rival of `dirty_extent` with everything written is `memset`: a bare array that is cleared and
// written whole. What nobody else can do is the rows where little is written.
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>

namespace slabbuf::bench {
namespace {

template <class Subject>
void zeroing_cost(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  Subject subject(size_class_table::powers_of_two(1024, 1 << 20));
  for ([[maybe_unused]] auto _ : state) [[maybe_unused]] auto taken = subject.take(size);
}

using dirty_64 = pool_subject<concurrent_pool, zeroing::dirty_extent, writing::first_64>;
using dirty_all = pool_subject<concurrent_pool, zeroing::dirty_extent, writing::all>;
using whole_64 = pool_subject<concurrent_pool, zeroing::whole_block, writing::first_64>;
using memset_all = block_subject<array_blocks<clearing::whole>, writing::all>;
using calloc_64 = block_subject<zeroed_heap_blocks, writing::first_64>;

void cleared_sizes(benchmark::internal::Benchmark* of) {
  of->ArgName("size")->RangeMultiplier(16)->Range(1 << 10, 1 << 20);
}

BENCHMARK(zeroing_cost<dirty_64>)->Name("Zeroing/dirty_extent/written:64")->Apply(cleared_sizes);
BENCHMARK(zeroing_cost<whole_64>)->Name("Zeroing/whole_block/written:64")->Apply(cleared_sizes);
BENCHMARK(zeroing_cost<calloc_64>)->Name("Zeroing/calloc/written:64")->Apply(cleared_sizes);
BENCHMARK(zeroing_cost<dirty_all>)->Name("Zeroing/dirty_extent/written:all")->Apply(cleared_sizes);
BENCHMARK(zeroing_cost<memset_all>)->Name("Zeroing/memset/written:all")->Apply(cleared_sizes);

}  // namespace
}  // namespace slabbuf::bench
