// SPDX-License-Identifier: MIT
// One question: does reading a file into registered buffers win, beside unregistered ones on the same ring, and beside
// pread()? In builds with SLABBUF_IO_URING.
//
// | files/read       | one thread reads a file of 64 MiB from front to back, four ways in turn              |
// |------------------|--------------------------------------------------------------------------------------|
// | pread_ms         | pread() into one block                                                               |
// | asio_ms          | async_read_some_at into 16 blocks, 16 reads on their way                             |
// | registered_ms    | the same, the blocks from a registered_pool: IORING_OP_READ_FIXED                    |
// | slabbuf_ms       | net::async_read_some_at, 16 on their way: a block each time, cleared when it is back |
// | registered       | registered_ms to asio_ms: what registering is worth                                  |
// | .../block:B      | bytes a read                                                                         |
// | .../direct:D     | 0: the file is in the page cache; 1: O_DIRECT                                        |
//
// The figures are processor time of the process, the ring's own workers and all, per GiB read. All four have their turn
// in each iteration, so that a slow moment of the machine hits everyone alike; compare within a row. The time beside
// them is that of the disk where direct is 1.
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
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment
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

class pread_loop {
 public:
  std::uint64_t read_all(int descriptor, std::size_t block_bytes) {
    buffer block = pool_.acquire(block_bytes);
    const std::span<std::byte> into = block.prepare();
    std::uint64_t at = 0;
    while (at < file_bytes) {
      const ::ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<::off_t>(at));
      if (got <= 0) break;
      at += static_cast<std::uint64_t>(got);
    }
    return at;
  }

 private:
  concurrent_pool pool_{options};
};

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

class asio_reads {
 public:
  std::uint64_t read_all(int descriptor, std::size_t block_bytes) {
    return read_into_blocks(context_, pool_, descriptor, block_bytes, [](buffer& block) {
      const std::span<std::byte> into = block.prepare();
      return asio::mutable_buffer(into.data(), into.size());
    });
  }

 private:
  concurrent_pool pool_{options};
  asio::io_context context_{1};
};

class registered_reads {
 public:
  registered_reads() { pool_.register_with(context_); }
  std::uint64_t read_all(int descriptor, std::size_t block_bytes) {
    return read_into_blocks(context_, pool_, descriptor, block_bytes,
                            [&](buffer& block) { return pool_.registered(block.prepare()); });
  }

 private:
  net::registered_pool pool_{pool_bytes, options};
  asio::io_context context_{1};
};

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

class slabbuf_reads {
 public:
  slabbuf_reads() { pool_.register_with(context_); }
  std::uint64_t read_all(int descriptor, std::size_t block_bytes) {
    file from(context_, ::dup(descriptor));
    std::uint64_t next = 0;
    std::uint64_t done = 0;
    std::vector<owning_reader> readers(reads_at_once, {from, pool_, next, done, block_bytes});
    for (owning_reader& each : readers) each.read();
    context_.restart();
    context_.run();
    return done;
  }

 private:
  net::registered_pool pool_{pool_bytes, options};
  asio::io_context context_{1};
};

void read_files(benchmark::State& state) {
  const auto block_bytes = static_cast<std::size_t>(state.range(0));
  const int descriptor = open_file(state.range(1) != 0);
  if (descriptor < 0) return state.SkipWithError("no O_DIRECT there: set TMPDIR");
  pread_loop by_pread;
  asio_reads by_asio;
  registered_reads by_registered;
  slabbuf_reads by_slabbuf;
  struct {
    double pread, asio, registered, slabbuf;
  } ms{};
  bool complete = true;
  const auto take_turn = [&](auto& subject, double& used_ms) {
    const double before_ms = cpu_ms();
    complete = subject.read_all(descriptor, block_bytes) == file_bytes && complete;
    used_ms += cpu_ms() - before_ms;
  };
  for ([[maybe_unused]] auto _ : state) {
    take_turn(by_pread, ms.pread);
    take_turn(by_asio, ms.asio);
    take_turn(by_registered, ms.registered);
    take_turn(by_slabbuf, ms.slabbuf);
  }
  ::close(descriptor);
  if (!complete) return state.SkipWithError("not all of the file was read");
  const double gibibytes = static_cast<double>(state.iterations()) * static_cast<double>(file_bytes) / (1 << 30);
  state.counters["pread_ms"] = ms.pread / gibibytes;
  state.counters["asio_ms"] = ms.asio / gibibytes;
  state.counters["registered_ms"] = ms.registered / gibibytes;
  state.counters["slabbuf_ms"] = ms.slabbuf / gibibytes;
  state.counters["registered"] = ms.registered / ms.asio;
}

BENCHMARK(read_files)
    ->Name("files/read")
    ->ArgNames({"block", "direct"})
    ->ArgsProduct({{4096, 65536}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf::bench
