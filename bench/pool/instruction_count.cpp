// SPDX-License-Identifier: MIT
// Gets and gives back so many buffers and does nothing else: run it twice under
// `valgrind --tool=callgrind` with different counts, and the difference is what a pair costs. bench/run
// does. Unlike nanoseconds, the number is the same on a busy machine.
//
//     instruction_count SUBJECT WORKLOAD COUNT        HighFrequency or MixedSizes, as in seed_bench
#include "baseline/blocks.hpp"
#include "pool/subject.hpp"
#include "pool/workload.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace slabbuf::bench {
namespace {

template <class Subject>
[[gnu::noinline]] void take_in_turn(Subject& subject, const std::size_t* sizes, std::size_t size_count,
                                    unsigned long count) {
  std::size_t index = 0;
  for (unsigned long done = 0; done < count; ++done) {
    [[maybe_unused]] auto taken = subject.take(sizes[index]);
    index = index + 1 == size_count ? 0 : index + 1;
  }
}

template <class Subject>
int count(const workload& load, unsigned long count) {
  Subject subject(load.classes);
  take_in_turn(subject, load.sizes.data(), load.sizes.size(), 2 * load.sizes.size());
  take_in_turn(subject, load.sizes.data(), load.sizes.size(), count);
  return 0;
}

// The loop and the touch, on memory that is always there.
struct no_blocks {
  explicit no_blocks(const size_class_table&) {}
  struct block {
    std::byte* bytes;
    std::byte* data() noexcept { return bytes; }
  };
  block take(std::size_t) noexcept { return {&byte}; }
  std::byte byte{};
};

int run(const std::string& subject, const workload& load, unsigned long times) {
  constexpr auto byte = writing::first_byte;
  constexpr auto message = writing::first_64;
  if (subject == "loop") return count<block_subject<no_blocks, byte>>(load, times);
  if (subject == "array") return count<block_subject<array_blocks<clearing::none>, byte>>(load, times);
  if (subject == "new_delete") return count<block_subject<heap_blocks<clearing::none>, byte>>(load, times);
  if (subject == "local_pool") return count<pool_subject<local_pool, zeroing::none, byte>>(load, times);
  if (subject == "concurrent_pool") return count<pool_subject<concurrent_pool, zeroing::none, byte>>(load, times);
  if (subject == "local_pool_64B") return count<pool_subject<local_pool, zeroing::dirty_extent, message>>(load, times);
  if (subject == "concurrent_pool_64B") {
    return count<pool_subject<concurrent_pool, zeroing::dirty_extent, message>>(load, times);
  }
  std::fprintf(stderr, "instruction_count: '%s' is no subject\n", subject.c_str());
  return 2;
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argument_count, char** arguments) {
  if (argument_count != 4) {
    std::fprintf(stderr, "usage: instruction_count SUBJECT WORKLOAD COUNT\n");
    return 2;
  }
  for (const slabbuf::bench::workload& load : slabbuf::bench::workloads()) {
    if (load.name == arguments[2]) {
      return slabbuf::bench::run(arguments[1], load, std::strtoul(arguments[3], nullptr, 10));
    }
  }
  std::fprintf(stderr, "instruction_count: '%s' is no workload\n", arguments[2]);
  return 2;
}
