// SPDX-License-Identifier: MIT
// Buffers that an io_uring knows: reads and writes of files, what is refused, and who may die first.
#include <slabbuf/net/registered_pool.hpp>

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer_registration.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/random_access_file.hpp>
#include <asio/write.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/loopback_pair.hpp"
#include "support/memory_file.hpp"

namespace slabbuf {
namespace {

using net::registered_pool;
using support::memory_file;
using file = asio::basic_random_access_file<asio::io_context::executor_type>;

static_assert(buffer_pool<registered_pool>);

std::string random_text(std::size_t bytes) {
  std::mt19937_64 random(bytes);
  std::string text(bytes, '\0');
  for (char& each : text) each = static_cast<char>(random());
  return text;
}
std::string_view text_of(const buffer& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct outcome {
  asio::error_code ec;
  buffer bytes;
};

class RegisteredPool : public ::testing::Test {
 protected:
  outcome read_at(file& from, std::uint64_t offset, std::size_t bytes_max) {
    std::optional<outcome> result;
    net::async_read_some_at(
        from, offset, pool_,
        [&](asio::error_code ec, buffer bytes) {
          result = outcome{ec, std::move(bytes)};
        },
        bytes_max);
    EXPECT_FALSE(result) << "called within the call";
    context_.restart();
    context_.run();
    return std::move(result).value();
  }

  registered_pool pool_{std::size_t{4} << 20, {.size_classes = size_class_table({4096, 65536})}};
  asio::io_context context_;
};

TEST_F(RegisteredPool, ReadsAFileBlockByBlock) {
  pool_.register_with(context_);
  const std::string content = random_text(300'000);
  const memory_file there(content);
  file from(context_, there.duplicate());
  for (const std::size_t bytes_max : {1U, 4096U, 65536U, 1U << 20}) {
    std::string seen;
    for (outcome got = read_at(from, 0, bytes_max); !got.ec; got = read_at(from, seen.size(), bytes_max)) {
      ASSERT_GT(got.bytes.size(), 0U);
      ASSERT_LE(got.bytes.size(), bytes_max);
      seen += text_of(got.bytes);
      if (bytes_max == 1 && seen.size() == 100) break;
    }
    EXPECT_EQ(seen, content.substr(0, seen.size()));
    EXPECT_EQ(seen.size(), bytes_max == 1 ? 100 : content.size());
  }
  EXPECT_EQ(pool_.stats().in_use, 0U);
}

TEST_F(RegisteredPool, SaysWhereAFileEnds) {
  pool_.register_with(context_);
  const memory_file there("text");
  file from(context_, there.duplicate());
  EXPECT_EQ(text_of(read_at(from, 2, 100).bytes), "xt");
  const outcome behind = read_at(from, 4, 100);
  EXPECT_EQ(behind.ec, asio::error::eof);
  EXPECT_FALSE(behind.bytes);
}

TEST_F(RegisteredPool, ClearsWhatWasReadForTheNextHolder) {
  pool_.register_with(context_);
  const memory_file there(std::string(4096, 'x'));
  file from(context_, there.duplicate());
  { EXPECT_EQ(read_at(from, 0, 4096).bytes.size(), 4096U); }
  const buffer next = pool_.acquire(4096);
  EXPECT_EQ(text_of(next), std::string(4096, '\0'));
}

TEST_F(RegisteredPool, SaysNoWhereItHasNoRoom) {
  pool_.register_with(context_);
  const memory_file there("text");
  file from(context_, there.duplicate());
  std::vector<buffer> all;
  while (buffer next = pool_.try_acquire(65536)) all.push_back(std::move(next));
  EXPECT_EQ(all.size(), 64U);
  EXPECT_EQ(read_at(from, 0, 65536).ec, asio::error::no_buffer_space);
  all.pop_back();
  EXPECT_EQ(text_of(read_at(from, 0, 65536).bytes), "text");
}

// Who waits wants more than there is room for; a read that would find room stands behind all the same.
TEST(RegisteredPoolLine, ReadsLetThoseWhoWaitGoFirst) {
  registered_pool pool(std::size_t{4} << 20,
                       {.size_classes = size_class_table({4096}), .budget_bytes_max = std::size_t{16} * 4096});
  asio::io_context context;
  pool.register_with(context);
  const memory_file there("text");
  file from(context, there.duplicate());
  std::vector<buffer> most;
  while (most.size() < 15) most.push_back(pool.acquire(4096));
  bool served = false;
  net::async_acquire(pool, 8192, asio::bind_executor(context, [&](asio::error_code ec, buffer) { served = !ec; }));
  std::optional<asio::error_code> result;
  const auto read = [&] {
    result.reset();
    net::async_read_some_at(
        from, 0, pool, [&](asio::error_code ec, buffer) { result = ec; }, 4096);
    while (!result) context.run_one();
    return *result;
  };
  EXPECT_EQ(read(), asio::error::no_buffer_space);
  EXPECT_FALSE(served);
  most.clear();
  context.run();
  EXPECT_TRUE(served);
  context.restart();
  EXPECT_FALSE(read());
}

// Asio takes a registered buffer for an ordinary one wherever it can: what tells is a ring that does not know it.
TEST_F(RegisteredPool, IsFixedInItsOwnRingOnly) {
  pool_.register_with(context_);
  const memory_file there("text");
  asio::io_context other;
  file from(other, there.duplicate());
  buffer bytes = pool_.acquire(100);
  asio::error_code result;
  from.async_read_some_at(0, pool_.registered(bytes.prepare()), [&](asio::error_code ec, std::size_t) { result = ec; });
  other.run();
  EXPECT_EQ(result.value(), EFAULT) << result.message();
}

TEST_F(RegisteredPool, WritesAFileFromAnyPartOfABuffer) {
  pool_.register_with(context_);
  const memory_file there;
  file to(context_, there.duplicate());
  // Of every kind: two classes, and pages of its own.
  for (const std::size_t size : {100U, 5000U, 65536U, 100'000U}) {
    const std::string text = random_text(size);
    buffer bytes = pool_.acquire(size);
    std::memcpy(bytes.data(), text.data(), size);
    const shared_slice middle = bytes.share(10, size - 20);
    std::size_t written = 0;
    to.async_write_some_at(10, pool_.registered(middle.span()), [&](asio::error_code ec, std::size_t count) {
      EXPECT_FALSE(ec) << ec.message();
      written = count;
    });
    context_.restart();
    context_.run();
    EXPECT_EQ(written, size - 20);
    EXPECT_EQ(there.content().substr(10), text.substr(10, size - 20));
  }
}

TEST_F(RegisteredPool, ReadsSocketsToo) {
  pool_.register_with(context_);
  support::loopback_pair pair(context_);
  asio::write(pair.far, asio::buffer("text", 4));
  buffer bytes = pool_.acquire(100);
  pair.near.async_read_some(pool_.registered(bytes.prepare()), [&](asio::error_code ec, std::size_t count) {
    EXPECT_FALSE(ec);
    bytes.commit(count);
  });
  context_.run();
  EXPECT_EQ(text_of(bytes), "text");
  net::async_write(pair.near, std::move(bytes), [](asio::error_code ec, std::size_t) { EXPECT_FALSE(ec); });
  context_.restart();
  context_.run();
  std::optional<outcome> result;
  pair.near.shutdown(asio::socket_base::shutdown_send);
  net::async_read_some(pair.far, pool_, [&](asio::error_code ec, buffer got) { result = outcome{ec, std::move(got)}; });
  context_.restart();
  context_.run();
  EXPECT_EQ(text_of(result.value().bytes), "text");
}

// What the kernel has pinned must be what the process sees, also when pages could have gone back.
TEST_F(RegisteredPool, StaysWhereTheKernelKnowsItThroughTrimming) {
  pool_.register_with(context_);
  const std::string content = random_text(65536);
  const memory_file there(content);
  file from(context_, there.duplicate());
  for (const std::size_t size : {4096U, 65536U, 100'000U}) {
    const buffer held = pool_.acquire(size);  // so that its slab stays, and only what is free in it could go
    { const buffer used = pool_.acquire(size); }
    pool_.trim();
    buffer bytes = pool_.acquire(size);
    const std::size_t count = std::min<std::size_t>(size, content.size());
    from.async_read_some_at(0, pool_.registered(bytes.prepare().first(count)),
                            [&](asio::error_code ec, std::size_t got) {
                              EXPECT_FALSE(ec);
                              bytes.commit(got);
                            });
    context_.restart();
    context_.run();
    EXPECT_EQ(text_of(bytes), content.substr(0, count));
  }
}

TEST_F(RegisteredPool, IsRegisteredOnce) {
  EXPECT_FALSE(pool_.is_registered());
  buffer bytes = pool_.acquire(100);
  EXPECT_THROW(static_cast<void>(pool_.registered(bytes.prepare())), std::logic_error);
  pool_.register_with(context_);
  EXPECT_TRUE(pool_.is_registered());
  asio::io_context other;
  EXPECT_THROW(pool_.register_with(other), std::logic_error);
}

TEST_F(RegisteredPool, KnowsItsOwnBytes) {
  pool_.register_with(context_);
  concurrent_pool foreign;
  buffer bytes = foreign.acquire(4096);
  EXPECT_THROW(static_cast<void>(pool_.registered(bytes.prepare())), std::invalid_argument);
  buffer own = pool_.acquire(4096);
  const std::span<std::byte> all = own.prepare();
  EXPECT_THROW(static_cast<void>(pool_.registered(std::span(all.data(), std::size_t{4} << 20))), std::invalid_argument);
  EXPECT_EQ(pool_.registered(all.subspan(96, 1000)).data(), all.data() + 96);
  EXPECT_EQ(pool_.registered(all.subspan(96, 1000)).size(), 1000U);
}

TEST_F(RegisteredPool, SaysThatARingTakesOneRegistration) {
  pool_.register_with(context_);
  registered_pool second(65536);
  try {
    second.register_with(context_);
    ADD_FAILURE() << "registered twice";
  } catch (const std::system_error& refusal) {
    EXPECT_EQ(refusal.code(), std::errc::device_or_resource_busy);
    EXPECT_NE(std::string_view(refusal.what()).find("65536 bytes"), std::string_view::npos) << refusal.what();
  }
  asio::io_context other;
  second.register_with(other);  // nothing was kept of the refusal
}

TEST_F(RegisteredPool, SaysThatSomebodyElseHasRegisteredBuffers) {
  std::vector<std::byte> memory(4096);
  const auto registration = asio::register_buffers(context_, std::vector{asio::buffer(memory)});
  try {
    pool_.register_with(context_);
    ADD_FAILURE() << "registered twice";
  } catch (const std::system_error& refusal) {
    EXPECT_EQ(refusal.code(), std::errc::device_or_resource_busy);
  }
  EXPECT_FALSE(pool_.is_registered());
}

TEST(RegisteredPoolOptions, AreRefusedWhereTheyCannotBe) {
  EXPECT_THROW(registered_pool(0), std::invalid_argument);
  EXPECT_THROW(registered_pool(SIZE_MAX), std::invalid_argument);
  EXPECT_THROW(registered_pool(65536, {.pages = &page_source::system()}), std::invalid_argument);
  EXPECT_THROW(registered_pool(std::size_t{1} << 48), std::bad_alloc);
}

TEST(RegisteredPoolLifetime, ABufferInAHandlerOutlivesTheContext) {
  registered_pool pool(std::size_t{1} << 20);
  const memory_file there("text");
  {
    asio::io_context context;
    pool.register_with(context);
    file from(context, there.duplicate());
    net::async_read_some_at(from, 0, pool, [](asio::error_code, buffer) { FAIL() << "nobody runs the context"; });
    EXPECT_EQ(pool.stats().in_use, 1U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(RegisteredPoolLifetime, AContextMayOutliveThePool) {
  asio::io_context context;
  {
    registered_pool pool(65536);
    pool.register_with(context);
  }
  asio::post(context, [] {});
  EXPECT_GE(context.run(), 1U);
}

// In a process of its own, without the privilege that lifts the limit.
TEST(RegisteredPoolDeath, SaysHowMuchMayBeLocked) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a ring's workers are threads
  const auto try_it = [] {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(2);
    const rlimit limit{131072, 131072};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) _exit(3);
    registered_pool pool(std::size_t{1} << 20);
    asio::io_context context;
    try {
      pool.register_with(context);
    } catch (const std::system_error& refusal) {
      std::fprintf(stderr, "%s\n", refusal.what());
      _exit(refusal.code() == std::errc::not_enough_memory && !pool.is_registered() ? 0 : 4);
    }
    _exit(5);
  };
  EXPECT_EXIT(try_it(), ::testing::ExitedWithCode(0), "cannot register 1048576 bytes .RLIMIT_MEMLOCK is 131072 bytes");
}

}  // namespace
}  // namespace slabbuf
