// SPDX-License-Identifier: MIT
// What the benchmark programs do the same way: --version, exit status 2 for what they do not know.
// Threads: one.
// Lifetime: the whole of main().
#pragma once

#include <slabbuf/pool/version.hpp>

#include <benchmark/benchmark.h>

#include <cstdio>
#include <string_view>

namespace slabbuf::bench {

/// Runs what is registered, as the command line says. Returns the exit status.
inline int run_benchmarks(const char* program, int argument_count, char** arguments) {
  for (int index = 1; index < argument_count; ++index) {
    if (std::string_view(arguments[index]) == "--version") {
      std::printf("%s %s\n", program, SLABBUF_VERSION_STRING);
      return 0;
    }
  }
  benchmark::Initialize(&argument_count, arguments);
  if (benchmark::ReportUnrecognizedArguments(argument_count, arguments)) return 2;
  const bool found = benchmark::RunSpecifiedBenchmarks() != 0;
  benchmark::Shutdown();
  return found ? 0 : 2;
}

}  // namespace slabbuf::bench
