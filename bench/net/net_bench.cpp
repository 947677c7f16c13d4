// SPDX-License-Identifier: MIT
// net_bench: Asio operations over the pool, one question a file.
#include "baseline/bench_main.hpp"

int main(int argument_count, char** arguments) {
  return slabbuf::bench::run_benchmarks("net_bench", argument_count, arguments);
}
