// SPDX-License-Identifier: MIT
// One question: does reading a file into registered buffers win, beside unregistered ones on the same ring, and beside
// pread()? In builds with SLABBUF_IO_URING.
//
// | name             | one thread reads a file of 64 MiB from front to back                               |
// |------------------|------------------------------------------------------------------------------------|
// | files/pread      | pread() into one block                                                             |
// | files/asio       | async_read_some_at into 16 blocks, 16 reads on their way                           |
// | files/registered | the same, the blocks from a registered_pool: IORING_OP_READ_FIXED                  |
// | files/slabbuf    | net::async_read_some_at, 16 on their way: a block each time, cleared when it is back |
// | .../block:B      | bytes a read                                                                       |
// | .../direct:D     | 0: the file is in the page cache; 1: O_DIRECT                                      |
//
// cpu_ms_per_GiB is processor time of the process, the ring's own workers and all: the figure to compare, within one
// run. The time beside it is that of the disk where direct is 1.
#include <slabbuf/net/registered_pool.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <asio/io_context.hpp>
#include <asio/random_access_file.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

using file = asio::basic_random_access_file<asio::io_context::executor_type>;

constexpr std::uint64_t file_bytes = std::uint64_t{64} << 20;
constexpr std::size_t reads_at_once = 16;
constexpr std::size_t pool_bytes = std::size_t{4} << 20;

const pool_options options{.size_classes = size_class_table({4096, 65536})};

// A file that has no name any more. -1 where the directory's file system has no O_DIRECT.
int open_file(bool direct) {
  const char* const directory = std::getenv("TMPDIR");
  std::string name = std::string(directory != nullptr ? directory : "/tmp") + "/file_read_bench.XXXXXX";
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) std::abort();
  const std::string content(std::size_t{1} << 20, 'x');
  for (std::uint64_t at = 0; at < file_bytes; at += content.size()) {
    if (::pwrite(descriptor, content.data(), content.size(), static_cast<::off_t>(at)) < 0) std::abort();
  }
  ::fsync(descriptor);
  const int opened = direct ? ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT) : ::dup(descriptor);
  ::unlink(name.c_str());
  ::close(descriptor);
  return opened;
}

double cpu_ms() {
  ::rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const ::timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

// Calls `read_all(descriptor, block_bytes)` for each iteration; it returns how many bytes it has read.
template <class ReadAll>
void measure(benchmark::State& state, const ReadAll& read_all) {
  const auto block_bytes = static_cast<std::size_t>(state.range(0));
  const int descriptor = open_file(state.range(1) != 0);
  if (descriptor < 0) return state.SkipWithError("no O_DIRECT there: set TMPDIR");
  double used_ms = 0;
  std::uint64_t bytes = 0;
  for (auto _ : state) {
    const double before_ms = cpu_ms();
    const std::uint64_t got = read_all(descriptor, block_bytes);
    used_ms += cpu_ms() - before_ms;
    if (got != file_bytes) return state.SkipWithError("not all of the file was read");
    bytes += got;
  }
  ::close(descriptor);
  state.counters["cpu_ms_per_GiB"] = used_ms / static_cast<double>(bytes) * (1 << 30);
}

void with_pread(benchmark::State& state) {
  concurrent_pool pool(options);
  measure(state, [&](int descriptor, std::size_t block_bytes) {
    buffer block = pool.acquire(block_bytes);
    const std::span<std::byte> into = block.prepare();
    std::uint64_t at = 0;
    while (at < file_bytes) {
      const ::ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<::off_t>(at));
      if (got <= 0) break;
      at += static_cast<std::uint64_t>(got);
    }
    return at;
  });
}

// Reads the blocks of a file that are not taken yet, one after the other, until there are none.
template <class Buffer>
struct reader {
  file& from;
  std::uint64_t& next;
  std::uint64_t& done;
  Buffer into;

  void read() {
    if (next >= file_bytes) return;
    from.async_read_some_at(std::exchange(next, next + into.size()), into,
                            [this](asio::error_code ec, std::size_t got) {
                              done += got;
                              if (!ec) read();
                            });
  }
};

template <class Pool, class BufferOf>
std::uint64_t read_into_blocks(asio::io_context& context, Pool& pool, int descriptor, std::size_t block_bytes,
                               const BufferOf& buffer_of) {
  file from(context, ::dup(descriptor));
  std::uint64_t next = 0;
  std::uint64_t done = 0;
  std::vector<buffer> blocks;
  std::vector<reader<decltype(buffer_of(blocks.front()))>> readers;
  readers.reserve(reads_at_once);  // handlers point at them
  for (std::size_t count = 0; count < reads_at_once; ++count) {
    blocks.push_back(pool.acquire(block_bytes));
    readers.push_back({from, next, done, buffer_of(blocks.back())});
  }
  for (auto& each : readers) each.read();
  context.restart();
  context.run();
  return done;
}

void with_asio(benchmark::State& state) {
  concurrent_pool pool(options);
  asio::io_context context(1);
  measure(state, [&](int descriptor, std::size_t block_bytes) {
    return read_into_blocks(context, pool, descriptor, block_bytes, [](buffer& block) {
      const std::span<std::byte> into = block.prepare();
      return asio::mutable_buffer(into.data(), into.size());
    });
  });
}

void with_registered(benchmark::State& state) {
  net::registered_pool pool(pool_bytes, options);
  asio::io_context context(1);
  pool.register_with(context);
  measure(state, [&](int descriptor, std::size_t block_bytes) {
    return read_into_blocks(context, pool, descriptor, block_bytes,
                            [&](buffer& block) { return pool.registered(block.prepare()); });
  });
}

struct owning_reader {
  file& from;
  net::registered_pool& pool;
  std::uint64_t& next;
  std::uint64_t& done;
  std::size_t block_bytes;

  void read() {
    if (next >= file_bytes) return;
    net::async_read_some_at(
        from, std::exchange(next, next + block_bytes), pool,
        [this](asio::error_code ec, const buffer& bytes) {
          done += bytes.size();
          if (!ec) read();
        },
        block_bytes);
  }
};

void with_slabbuf(benchmark::State& state) {
  net::registered_pool pool(pool_bytes, options);
  asio::io_context context(1);
  pool.register_with(context);
  measure(state, [&](int descriptor, std::size_t block_bytes) {
    file from(context, ::dup(descriptor));
    std::uint64_t next = 0;
    std::uint64_t done = 0;
    std::vector<owning_reader> readers(reads_at_once, {from, pool, next, done, block_bytes});
    for (owning_reader& each : readers) each.read();
    context.restart();
    context.run();
    return done;
  });
}

void blocks_and_caches(benchmark::internal::Benchmark* subject) {
  subject->ArgNames({"block", "direct"})
      ->ArgsProduct({{4096, 65536}, {0, 1}})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(with_pread)->Name("files/pread")->Apply(blocks_and_caches);
BENCHMARK(with_asio)->Name("files/asio")->Apply(blocks_and_caches);
BENCHMARK(with_registered)->Name("files/registered")->Apply(blocks_and_caches);
BENCHMARK(with_slabbuf)->Name("files/slabbuf")->Apply(blocks_and_caches);

}  // namespace
}  // namespace slabbuf::bench
