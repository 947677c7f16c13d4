// SPDX-License-Identifier: MIT
#include <slabbuf/net/openssl_allocator.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/net/tls_stream.hpp>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/counting_allocator.hpp"
#include "support/process_end.hpp"
#include "support/sanitizers.hpp"
#include "support/tls_engines.hpp"
#include "support/tls_pair.hpp"
#include "support/zeros.hpp"

namespace slabbuf {
namespace {

using support::is_zero;

constexpr std::size_t record_class = 17408;
constexpr std::size_t budget = std::size_t{64} << 20;

pool_options with_limit() {
  pool_options options = net::openssl_pool_options();
  options.budget_bytes_max = budget;
  return options;
}

// Before main() uses OpenSSL for anything.
concurrent_pool& openssl_pool = net::install_openssl_allocator(with_limit());

std::uint64_t in_use_of(std::size_t size) {
  const pool_stats now = openssl_pool.stats();
  for (const class_stats& each : now.classes())
    if (each.size == size) return each.in_use;
  return 0;
}

TEST(OpensslAllocator, ServesOpenssl) {
  const std::uint64_t before = openssl_pool.stats().in_use;
  void* const memory = OPENSSL_malloc(100);
  EXPECT_EQ(openssl_pool.stats().in_use, before + 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t), 0U);
  OPENSSL_free(memory);
  EXPECT_EQ(openssl_pool.stats().in_use, before);
  EXPECT_EQ(OPENSSL_malloc(0), nullptr);
  OPENSSL_free(nullptr);
}

TEST(OpensslAllocator, EverySizeIsAligned) {
  for (std::size_t size = 1; size < 40'000; size += 7) {
    void* const memory = OPENSSL_malloc(size);
    ASSERT_NE(memory, nullptr);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t), 0U) << size;
    std::memset(memory, 0x5a, size);
    OPENSSL_free(memory);
  }
  EXPECT_TRUE(openssl_pool.check_invariants());
}

TEST(OpensslAllocator, KeepsTheBytesOfWhatGrowsAndShrinks) {
  std::string expected;
  char* memory = nullptr;
  for (const std::size_t size :
       {1U, 10U, 16U, 17U, 200U, 5000U, 17000U, 17400U, 17408U, 17409U, 30000U, 100000U, 90000U, 20000U, 100U, 3U}) {
    memory = static_cast<char*>(OPENSSL_realloc(memory, size));
    ASSERT_NE(memory, nullptr);
    const std::size_t kept = std::min(size, expected.size());
    ASSERT_EQ(std::string_view(memory, kept), std::string_view(expected).substr(0, kept)) << size;
    expected.resize(size);
    for (std::size_t at = kept; at < size; ++at) expected[at] = static_cast<char>('a' + at % 26);
    std::memcpy(memory, expected.data(), size);
  }
  EXPECT_EQ(OPENSSL_realloc(memory, 0), nullptr);
  EXPECT_TRUE(openssl_pool.check_invariants());
}

TEST(OpensslAllocator, ClearsWhatIsFreed) {
  for (const std::size_t size : {48U, 7608U, 16712U}) {
    auto* const memory = static_cast<std::byte*>(OPENSSL_malloc(size));
    std::memset(memory, 0x5a, size);
    OPENSSL_free(memory);
    // The pool gives what came back last, still as it was left.
    const buffer again = openssl_pool.acquire(size);
    ASSERT_EQ(again.data(), memory) << size;
    EXPECT_TRUE(is_zero({again.data(), again.capacity()})) << size;
  }
}

TEST(OpensslAllocator, ClearsARecordAsFarAsItWasWritten) {
  auto* const memory = static_cast<std::byte*>(OPENSSL_malloc(16712));
  std::memset(memory, 0x5a, 600);
  net::detail::note_record_written(memory + 500, net::detail::record_content::plaintext);
  net::detail::note_record_written(memory + 100, net::detail::record_content::plaintext);
  OPENSSL_free(memory);
  buffer again = openssl_pool.acquire(16712);
  ASSERT_EQ(std::as_const(again).data(), memory);
  EXPECT_TRUE(is_zero({memory, 500}));
  EXPECT_EQ(memory[500], std::byte{0x5a}) << "beyond what the note says, nobody looked";
  EXPECT_TRUE(is_zero({memory + 600, record_class - 600})) << "the note is gone, too";
  std::memset(again.prepare().data(), 0, again.capacity());
  // No record buffer: nothing happens.
  net::detail::note_record_written(&openssl_pool, net::detail::record_content::plaintext);
}

TEST(OpensslAllocator, LeavesCiphertextWhereThePoolClearsNothing) {
  const auto left_behind = [](std::initializer_list<net::detail::record_content> contents) {
    auto* const memory = static_cast<std::byte*>(OPENSSL_malloc(16712));
    std::memset(memory, 0x5a, 600);
    for (const net::detail::record_content each : contents) net::detail::note_record_written(memory + 600, each);
    OPENSSL_free(memory);
    const buffer again = openssl_pool.acquire(16712);
    EXPECT_EQ(again.data(), memory);
    return !is_zero({again.data(), 600});
  };
  using enum net::detail::record_content;
  EXPECT_TRUE(left_behind({ciphertext}));
  EXPECT_FALSE(left_behind({ciphertext, plaintext}));
  EXPECT_FALSE(left_behind({plaintext, ciphertext}));
  EXPECT_FALSE(left_behind({})) << "nobody knows what it was";
}

TEST(OpensslAllocator, GoesToTheHeapForWhatThePoolHasNot) {
  const net::openssl_allocator_stats before = net::openssl_heap_stats();
  void* const large = OPENSSL_malloc(std::size_t{1} << 20);
  ASSERT_NE(large, nullptr);
  EXPECT_EQ(net::openssl_heap_stats().oversize, before.oversize + 1);

  std::vector<buffer> in_the_way;
  while (buffer one = openssl_pool.try_acquire(record_class)) in_the_way.push_back(std::move(one));
  void* const refused = OPENSSL_malloc(record_class - 100);
  ASSERT_NE(refused, nullptr);
  EXPECT_GT(net::openssl_heap_stats().refused, before.refused);
  EXPECT_EQ(net::openssl_heap_stats().in_use, before.in_use + 2);
  in_the_way.clear();
  OPENSSL_free(refused);
  OPENSSL_free(large);
  EXPECT_EQ(net::openssl_heap_stats().in_use, before.in_use);
}

TEST(OpensslAllocator, IsInstalledOnce) {
  EXPECT_THROW(net::install_openssl_allocator(), std::logic_error);
  concurrent_pool other;
  EXPECT_THROW(net::install_openssl_allocator(other), std::logic_error);
}

constexpr std::size_t sizes = 32;
constexpr std::size_t size_at(std::size_t index) { return 900 + index % sizes * 100; }

std::byte pattern_of(std::size_t index) { return static_cast<std::byte>(index % 251 + 1); }

// So many that they do not come out of what a thread has cached alone.
std::vector<std::byte*> take_many(std::size_t count) {
  std::vector<std::byte*> taken;
  for (std::size_t index = 0; index < count; ++index) {
    taken.push_back(static_cast<std::byte*>(OPENSSL_malloc(size_at(index))));
    std::memset(taken.back(), static_cast<int>(pattern_of(index)), 100);
  }
  return taken;
}

// Grows one in three, and frees them all. Whether all is as it was taken. What is freed of the pool's, which stays
// `in_place` in a child, must be clear.
bool return_many(const std::vector<std::byte*>& taken, bool in_place) {
  bool good = true;
  const auto as_taken = [](const std::byte* memory, std::size_t index) {
    return std::all_of(memory, memory + 100, [&](std::byte each) { return each == pattern_of(index); });
  };
  for (std::size_t index = 0; index < taken.size(); ++index) {
    std::byte* const memory = taken[index];
    good = good && as_taken(memory, index);
    std::byte* last = memory;
    if (index % 3 == 0) {
      last = static_cast<std::byte*>(OPENSSL_realloc(memory, 2 * size_at(index) + 2000));
      good = good && last != memory && as_taken(last, index);
    }
    OPENSSL_free(last);
    if (in_place) good = good && is_zero({memory, 100});
  }
  return good;
}

// The status it ended with; nothing when it did not within a limit that is generous, and is no more.
std::optional<int> status_of(::pid_t child) {
  const std::optional<int> status = support::status_at_end(child, std::chrono::seconds(30));
  if (status) return status;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return std::nullopt;
}

// Children find every lock of the pool as other threads left it, now and then held. They end by _exit(): exit() would
// destroy what is static, which those threads use.
TEST(OpensslAllocatorFork, AChildGoesOnWithWhateverThreadsDidMeanwhile) {
#if defined(SLABBUF_SANITIZED)
  GTEST_SKIP() << "a sanitizer's own allocator may be locked in the child";
#endif
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([](const std::stop_token& stop) {
      while (!stop.stop_requested()) return_many(take_many(1000), false);
    });
  }
  const std::vector<std::byte*> before = take_many(200);
  for (std::size_t round = 0; round < 50; ++round) {
    // What takes longer from round to round meets the others elsewhere in theirs.
    EXPECT_TRUE(return_many(take_many(37 * (round + 1)), false));
    const ::pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const bool good = return_many(take_many(1000), false) && return_many(before, true);
      ::_exit(good ? 0 : 1);
    }
    const std::optional<int> status = status_of(child);
    EXPECT_EQ(status, 0) << (status ? "wrong bytes" : "hangs") << ", round " << round;
    if (!status) break;
  }
  threads.clear();
  EXPECT_TRUE(return_many(before, false)) << "what the children freed was theirs";
  EXPECT_TRUE(openssl_pool.check_invariants());
}

// With one thread, where a child may look at the pool, too.
TEST(OpensslAllocatorFork, AChildTakesNothingFromThePoolAndGivesNothingBack) {
  auto* const record = static_cast<std::byte*>(OPENSSL_malloc(16712));
  std::memset(record, 0x5a, 16712);
  net::detail::note_record_written(record + 500, net::detail::record_content::ciphertext);
  const std::vector<std::byte*> before = take_many(200);
  const std::uint64_t in_use = openssl_pool.stats().in_use;
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int wrong = 0;
    int count = 0;
    const auto expect = [&](bool good) {
      ++count;
      if (!good && wrong == 0) wrong = count;
    };
    const net::openssl_allocator_stats at_fork = net::openssl_heap_stats();
    void* const own = OPENSSL_malloc(100);
    expect(net::openssl_heap_stats().refused == at_fork.refused + 1);
    expect(net::openssl_heap_stats().in_use == at_fork.in_use + 1);
    OPENSSL_free(own);
    expect(net::openssl_heap_stats().in_use == at_fork.in_use);
    net::detail::note_record_written(record + 16000, net::detail::record_content::plaintext);
    expect(OPENSSL_realloc(record, 17000) == record);
    OPENSSL_free(record);
    expect(is_zero({record, 16712}));
    expect(return_many(before, true));
    try {
      net::install_openssl_allocator();
      expect(false);
    } catch (const std::logic_error&) {
      expect(true);
    }
    {
      const support::engine_pair pair;
      expect(SSL_is_init_finished(pair.server.ssl()) != 0);
    }
    expect(openssl_pool.stats().in_use == in_use);
    ::_exit(wrong);
  }
  EXPECT_EQ(status_of(child), 0) << "which of the expectations, in the second byte";
  EXPECT_EQ(record[16711], std::byte{0x5a});
  OPENSSL_free(record);
  EXPECT_TRUE(return_many(before, false));
}

using echo_stream = support::pool_tls_stream;

// Reads and echoes for ever, with its state in the pool.
struct echo {
  void read() {
    net::async_read_some(stream, pool, net::bind_pool(pool, [this](asio::error_code ec, buffer bytes) {
                           if (!ec) write(std::move(bytes));
                         }));
  }
  void write(buffer bytes) {
    net::async_write(stream, std::move(bytes), net::bind_pool(pool, [this](asio::error_code ec, std::size_t) {
                       if (!ec) {
                         ++count;
                         read();
                       }
                     }));
  }
  echo_stream& stream;
  concurrent_pool& pool;
  std::uint64_t count = 0;
};

class OpensslAllocatorEcho : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Versions, OpensslAllocatorEcho, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& each) { return each.param == TLS1_2_VERSION ? "Tls12" : "Tls13"; });

TEST_P(OpensslAllocatorEcho, TakesNothingFromTheHeapAndHoldsNoRecord) {
  if (!support::heap_counting_available()) GTEST_SKIP() << "the heap is not to be counted here";
  concurrent_pool pool;
  asio::io_context io;
  support::tls_contexts contexts(GetParam());
  support::tls_pair pair(io, contexts, pool);
  ASSERT_FALSE(pair.shake_hands().first);
  echo server{pair.server, pool};
  echo client{pair.client, pool};
  server.read();
  buffer first = pool.acquire(64);
  std::memset(first.data(), 'x', first.size());
  client.write(std::move(first));
  while (client.count < 100) io.run_one();

  const std::uint64_t heap_before = support::heap_allocations_of_the_process();
  const std::uint64_t records_before = openssl_pool.stats().acquired;
  while (client.count < 1100) io.run_one();
  EXPECT_EQ(support::heap_allocations_of_the_process(), heap_before);
  EXPECT_GT(openssl_pool.stats().acquired, records_before);

  // Between two messages, nobody has a record buffer or a block for bytes.
  pair.client.lowest_layer().shutdown(asio::socket_base::shutdown_both);
  io.run();
  EXPECT_EQ(in_use_of(record_class), 0U);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(OpensslAllocatorIdle, AServersConnectionTakesLittle) {
  concurrent_pool pool;
  asio::io_context io;
  support::tls_contexts contexts;
  ASSERT_TRUE(net::prepare_for_small_connections(contexts.server.native_handle()));
  std::vector<echo_stream> servers;
  const auto add = [&] {
    support::tls_pair pair(io, contexts, pool);
    EXPECT_FALSE(pair.shake_hands().first);
    servers.push_back(std::move(pair.server));
  };
  for (int warm_up = 0; warm_up < 3; ++warm_up) add();
  const std::uint64_t before = openssl_pool.stats().in_use_bytes;
  for (int index = 0; index < 20; ++index) add();
  const std::uint64_t bytes = (openssl_pool.stats().in_use_bytes - before) / 20;
  RecordProperty("bytes", static_cast<int>(bytes));
  EXPECT_LT(bytes, 14'000U);
  EXPECT_EQ(in_use_of(record_class), 0U);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
