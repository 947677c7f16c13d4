// SPDX-License-Identifier: MIT
// One question: do threads that use one pool at the same time, each for itself, disturb each other?
//
//     Threads/SUBJECT/threads:N     every thread gets and gives back 1 KiB, first byte written
//
// Time is processor time per buffer: the same for every N when nothing is shared.
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <memory_resource>

namespace slabbuf::bench {
namespace {

constexpr std::size_t request_bytes = 1024;

template <class Subject>
void threads(benchmark::State& state) {
  static Subject subject{size_class_table()};
  for ([[maybe_unused]] auto _ : state) [[maybe_unused]] auto taken = subject.take(request_bytes);
}

using pool = pool_subject<concurrent_pool, zeroing::none, writing::first_byte>;
using heap = block_subject<heap_blocks<clearing::none>, writing::first_byte>;
using pmr = block_subject<pmr_blocks<std::pmr::synchronized_pool_resource>, writing::first_byte>;

BENCHMARK(threads<pool>)->Name("Threads/concurrent_pool/none")->Threads(1)->Threads(2);
BENCHMARK(threads<heap>)->Name("Threads/new_delete/none")->Threads(1)->Threads(2);
BENCHMARK(threads<pmr>)->Name("Threads/pmr_synchronized/none")->Threads(1)->Threads(2);

}  // namespace
}  // namespace slabbuf::bench
