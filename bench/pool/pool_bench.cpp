// SPDX-License-Identifier: MIT
// pool_bench: the questions about the pool that one thread and one buffer at a time do not answer, each
// in a file of its own: chain_bench.cpp, cross_thread_bench.cpp, threads_bench.cpp, zeroing_bench.cpp,
// hardening_bench.cpp.
#include "baseline/bench_main.hpp"

int main(int argument_count, char** arguments) {
  return slabbuf::bench::run_benchmarks("pool_bench", argument_count, arguments);
}
