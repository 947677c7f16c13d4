// SPDX-License-Identifier: MIT
#include <slabbuf/net/handler_allocator.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <gtest/gtest.h>
#include <asio/associated_allocator.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using net::handler_allocator;

static_assert(sizeof(handler_allocator<int>) == sizeof(void*));
static_assert(std::is_nothrow_copy_constructible_v<handler_allocator<int>>);

TEST(HandlerAllocator, ServesRequestsUpToItsLimitFromThePool) {
  concurrent_pool pool;
  handler_allocator<std::byte> allocator(pool);
  for (const std::size_t bytes : {1U, 64U, 65U, 208U, 600U, 2048U}) {
    std::byte* const memory = allocator.allocate(bytes);
    EXPECT_EQ(pool.stats().in_use, 1U) << bytes;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 64, 0U) << bytes;
    allocator.deallocate(memory, bytes);
    EXPECT_EQ(pool.stats().in_use, 0U) << bytes;
  }
}

TEST(HandlerAllocator, TakesLargerRequestsFromTheHeap) {
  concurrent_pool pool;
  handler_allocator<std::byte> allocator(pool);
  std::byte* const memory = allocator.allocate(2049);
  EXPECT_EQ(pool.stats().acquired, 0U);
  allocator.deallocate(memory, 2049);
}

TEST(HandlerAllocator, TakesOverAlignedTypesFromTheHeap) {
  struct alignas(128) wide {
    std::array<std::byte, 128> bytes;
  };
  concurrent_pool pool;
  handler_allocator<wide> allocator(pool);
  wide* const memory = allocator.allocate(1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 128, 0U);
  EXPECT_EQ(pool.stats().acquired, 0U);
  allocator.deallocate(memory, 1);
}

TEST(HandlerAllocator, IsNotMisledByAPoolWithoutFittingClasses) {
  concurrent_pool blocks_of_64k({.size_classes = {65536}});
  handler_allocator<std::byte> large(blocks_of_64k);
  large.deallocate(large.allocate(200), 200);
  EXPECT_EQ(blocks_of_64k.stats().acquired, 0U) << "64 KiB for 200 bytes";

  concurrent_pool blocks_of_8({.size_classes = {8}});
  handler_allocator<std::byte> small(blocks_of_8);
  small.deallocate(small.allocate(200), 200);
  EXPECT_EQ(blocks_of_8.stats().oversize, 0U) << "a page for 200 bytes";
}

TEST(HandlerAllocator, KnowsThatWhatFollowsAnOversizeBufferIsNotItsPools) {
  concurrent_pool pool;
  const buffer oversize = pool.acquire((std::size_t{1} << 20) + 1);  // 1 MiB and a page: the granule goes on
  auto* const neighbour = const_cast<std::byte*>(oversize.data()) + oversize.capacity();
  EXPECT_FALSE(detail::pool_core::give_by_address(neighbour, 1));
  EXPECT_EQ(pool.stats().oversize_in_use, 1U);
}

TEST(HandlerAllocator, FallsBackToTheHeapWhenTheBudgetHasNoRoomAndCountsIt) {
  concurrent_pool pool({.size_classes = {256}, .budget_bytes_max = 256});
  handler_allocator<std::byte> allocator(pool);
  std::byte* const first = allocator.allocate(200);
  std::byte* const second = allocator.allocate(200);
  EXPECT_EQ(pool.stats().in_use, 1U);
  EXPECT_EQ(pool.stats().refused, 1U);
  allocator.deallocate(second, 200);
  allocator.deallocate(first, 200);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(HandlerAllocator, RefusesCountsThatOverflow) {
  concurrent_pool pool;
  handler_allocator<std::uint64_t> allocator(pool);
  EXPECT_THROW(static_cast<void>(allocator.allocate(SIZE_MAX / 4)), std::bad_array_new_length);
}

TEST(HandlerAllocator, ComparesByPoolAndRebinds) {
  concurrent_pool one;
  local_pool other;
  const handler_allocator<int> a(one);
  const std::allocator_traits<handler_allocator<int>>::rebind_alloc<double> b(a);
  const handler_allocator<void> c(b);
  const handler_allocator<int> d(other);
  EXPECT_TRUE(a == b);
  EXPECT_TRUE(c == a);
  EXPECT_TRUE(a != d);
}

TEST(HandlerAllocator, StaysUsableWhenMovedFrom) {
  concurrent_pool pool;
  handler_allocator<std::byte> first(pool);
  handler_allocator<std::byte> second(std::move(first));
  std::byte* const memory = first.allocate(100);  // NOLINT(bugprone-use-after-move): this is the promise
  second.deallocate(memory, 100);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(HandlerAllocator, FreesOnAnotherThread) {
  concurrent_pool pool;
  handler_allocator<std::byte> allocator(pool);
  std::byte* const memory = allocator.allocate(100);
  std::jthread([&] { allocator.deallocate(memory, 100); }).join();
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(HandlerAllocator, WorksInAContainer) {
  local_pool pool;
  {
    std::vector<int, handler_allocator<int>> numbers{handler_allocator<int>(pool)};
    for (int number = 0; number < 2000; ++number) numbers.push_back(number);
    EXPECT_EQ(numbers[1999], 1999);
  }
  EXPECT_GT(pool.stats().acquired, 0U);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(BindPool, GivesTheHandlerThePoolsAllocator) {
  concurrent_pool pool;
  asio::io_context context;
  bool called = false;
  asio::post(context, net::bind_pool(pool, [&] { called = true; }));
  EXPECT_EQ(pool.stats().in_use, 1U);
  context.run();
  EXPECT_TRUE(called);
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST(BindPool, FreesWhatIsQueuedWhenTheContextStoppedAndDies) {
  concurrent_pool pool;
  {
    asio::io_context context;
    for (int count = 0; count < 100; ++count) asio::post(context, net::bind_pool(pool, [] { FAIL(); }));
    context.stop();
    EXPECT_EQ(pool.stats().in_use, 100U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
