// SPDX-License-Identifier: MIT
// One question: what does it cost to be told of misuse, and of who holds what?
//
//     Hardening/LEVEL/size:S         a buffer of S bytes got and given back, its first 64 written and cleared
//     Sampling/one_in:N/size:1024    the same with one in N acquisitions sampled; 0: none
//
// On a concurrent_pool, one thread.
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>

namespace slabbuf::bench {
namespace {

using subject = pool_subject<concurrent_pool, zeroing::dirty_extent, writing::first_64>;

void take_again(benchmark::State& state, std::size_t size, const pool_options& options) {
  subject pool(size_class_table(), options);
  for ([[maybe_unused]] auto _ : state) [[maybe_unused]] auto taken = pool.take(size);
}

void hardening_level(benchmark::State& state, hardening level) {
  pool_options options;
  options.harden = level;
  take_again(state, static_cast<std::size_t>(state.range(0)), options);
}

void sampling(benchmark::State& state) {
  pool_options options;
  options.sample_period = static_cast<std::uint32_t>(state.range(0));
  take_again(state, static_cast<std::size_t>(state.range(1)), options);
}

void hardened_sizes(benchmark::internal::Benchmark* of) { of->ArgName("size")->Arg(64)->Arg(1 << 10)->Arg(16 << 10); }

BENCHMARK_CAPTURE(hardening_level, off, hardening::off)->Name("Hardening/off")->Apply(hardened_sizes);
BENCHMARK_CAPTURE(hardening_level, cheap, hardening::cheap)->Name("Hardening/cheap")->Apply(hardened_sizes);
BENCHMARK_CAPTURE(hardening_level, full, hardening::full)->Name("Hardening/full")->Apply(hardened_sizes);
BENCHMARK(sampling)
    ->Name("Sampling")
    ->ArgNames({"one_in", "size"})
    ->Args({0, 1024})
    ->Args({1'000'000, 1024})
    ->Args({1000, 1024})
    ->Args({100, 1024})
    ->Args({1, 1024});

}  // namespace
}  // namespace slabbuf::bench
