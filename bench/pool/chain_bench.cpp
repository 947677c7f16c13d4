// SPDX-License-Identifier: MIT
// One question: what does it cost to share, slice, append and consume bytes, beside what the standard library has?
//
//     Share/SUBJECT             one owner more of bytes that have two, and gone again
//     FirstShare/SUBJECT        1 KiB, its first 64 bytes written, a second owner; both go
//     Queue/SUBJECT/size:S      a message of S bytes written and put behind 16 others; the first one taken away
//     Stream/SUBJECT/size:S     S bytes copied behind 4 KiB; S bytes taken away from the front
//     Split/SUBJECT/size:S      16 KiB cut into messages of S bytes that live on their own; per message
//
// SUBJECT is shared_slice or buffer_chain on a local_pool or a concurrent_pool; `shared_ptr`, a
// std::shared_ptr<std::vector<std::byte>> (in a std::deque where there are several); or std::string.
// heap_allocations counts calls of malloc for each.
#include "baseline/allocation_counter.hpp"
#include "pool/subject.hpp"

#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

using shared_vector = std::shared_ptr<std::vector<std::byte>>;

constexpr std::size_t backlog_messages = 16;
constexpr std::size_t backlog_bytes = 4096;
constexpr std::size_t batch_bytes = 16 << 10;

// The heap's part of what follows, from construction on.
class heap_counter {
 public:
  // std::shared_ptr counts without atomics until a program has had a second thread. A server has.
  heap_counter() {
    std::thread([] {}).join();
    before_ = heap_use_of_this_thread().allocations;
  }
  void report(benchmark::State& state, double of_each = 1) const {
    const auto allocations = static_cast<double>(heap_use_of_this_thread().allocations - before_);
    state.counters["heap_allocations"] = allocations / (static_cast<double>(state.iterations()) * of_each);
  }

 private:
  std::uint64_t before_;
};

template <class Pool>
void share(benchmark::State& state) {
  Pool pool;
  shared_slice one(pool.acquire(1024));
  const shared_slice two = one.share();
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    const shared_slice more = one.share();
    keep(more.data());
  }
  heap.report(state);
}

void share_shared_ptr(benchmark::State& state) {
  const auto one = std::make_shared<std::vector<std::byte>>(1024);
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    shared_vector more = one;
    keep(more->data());
    more.reset();
  }
  heap.report(state);
}

template <class Pool>
void first_share(benchmark::State& state) {
  Pool pool;
  buffer(pool.acquire(1024)).share().release();
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    buffer one = pool.acquire(1024);
    write(one.writable(64).data(), 64, writing::first_64);
    const shared_slice two = one.share();
    keep(two.data());
  }
  heap.report(state);
}

void first_share_shared_ptr(benchmark::State& state) {
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    const auto one = std::make_shared<std::vector<std::byte>>(1024);
    write(one->data(), 64, writing::first_64);
    shared_vector two = one;
    keep(two->data());
    two.reset();
  }
  heap.report(state);
}

template <class Pool>
void queue(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  Pool pool;
  buffer_chain chain;
  const auto put = [&] {
    buffer message = pool.acquire(size);
    write(message.data(), size, writing::all);
    chain.append(std::move(message));
  };
  for (std::size_t count = 0; count < 4 * backlog_messages; ++count) put();
  chain.consume(3 * backlog_messages * size);
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    put();
    keep(chain.spans()[0].data());
    chain.consume(size);
  }
  heap.report(state);
}

void queue_shared_ptr(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  std::deque<shared_vector> chain;
  const auto put = [&] {
    auto message = std::make_shared<std::vector<std::byte>>(size);
    write(message->data(), size, writing::all);
    chain.push_back(std::move(message));
  };
  for (std::size_t count = 0; count < backlog_messages; ++count) put();
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    put();
    keep(chain.front()->data());
    chain.pop_front();
  }
  heap.report(state);
}

template <class Pool>
void stream(benchmark::State& state) {
  const std::vector<std::byte> message(static_cast<std::size_t>(state.range(0)));
  Pool pool;
  buffer_chain chain;
  chain.append_copy(pool, std::vector<std::byte>(backlog_bytes));
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    chain.append_copy(pool, message);
    keep(chain.spans()[0].data());
    chain.consume(message.size());
  }
  heap.report(state);
}

void stream_string(benchmark::State& state) {
  const std::string message(static_cast<std::size_t>(state.range(0)), 'x');
  std::string chain(backlog_bytes, 'x');
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    chain.append(message);
    keep(chain.data());
    chain.erase(0, message.size());
  }
  heap.report(state);
}

template <class Pool>
void split(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::size_t message_count = batch_bytes / size;
  Pool pool;
  std::vector<buffer_chain> messages(message_count);
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    buffer received = pool.acquire(batch_bytes);
    received.writable(64);
    buffer_chain chain(std::move(received));
    for (buffer_chain& each : messages) each = chain.split(size);
    keep(messages.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(message_count));
  heap.report(state, static_cast<double>(message_count));
}

void split_string(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::size_t message_count = batch_bytes / size;
  const std::string received(batch_bytes, 'x');
  std::vector<std::string> messages(message_count);
  const heap_counter heap;
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t index = 0; index < message_count; ++index) messages[index] = received.substr(index * size, size);
    keep(messages.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(message_count));
  heap.report(state, static_cast<double>(message_count));
}

void sizes(benchmark::internal::Benchmark* of) { of->ArgName("size")->Arg(64)->Arg(1 << 10); }

BENCHMARK(share<local_pool>)->Name("Share/shared_slice:local_pool");
BENCHMARK(share<concurrent_pool>)->Name("Share/shared_slice:concurrent_pool");
BENCHMARK(share_shared_ptr)->Name("Share/shared_ptr");
BENCHMARK(first_share<local_pool>)->Name("FirstShare/shared_slice:local_pool");
BENCHMARK(first_share<concurrent_pool>)->Name("FirstShare/shared_slice:concurrent_pool");
BENCHMARK(first_share_shared_ptr)->Name("FirstShare/shared_ptr");
BENCHMARK(queue<local_pool>)->Name("Queue/buffer_chain:local_pool")->Apply(sizes);
BENCHMARK(queue<concurrent_pool>)->Name("Queue/buffer_chain:concurrent_pool")->Apply(sizes);
BENCHMARK(queue_shared_ptr)->Name("Queue/shared_ptr")->Apply(sizes);
BENCHMARK(stream<local_pool>)->Name("Stream/buffer_chain:local_pool")->Apply(sizes);
BENCHMARK(stream<concurrent_pool>)->Name("Stream/buffer_chain:concurrent_pool")->Apply(sizes);
BENCHMARK(stream_string)->Name("Stream/string")->Apply(sizes);
BENCHMARK(split<local_pool>)->Name("Split/buffer_chain:local_pool")->Apply(sizes);
BENCHMARK(split<concurrent_pool>)->Name("Split/buffer_chain:concurrent_pool")->Apply(sizes);
BENCHMARK(split_string)->Name("Split/string")->Apply(sizes);

}  // namespace
}  // namespace slabbuf::bench
