// SPDX-License-Identifier: MIT
// Each misuse is committed in a child process, which must die with its name:
//     foreign_pointer   an address no pool owns is put
//     other_pool        a block of another pool is put
//     not_a_block       an address inside a block is put
//     size_mismatch     more is put than the block has
//     double_put        a block is put twice, or has an owner that did not get it by get_buffer()
//     pool_died_in_use  a pool is destroyed while a buffer is out
#include <slabbuf/pool/failure.hpp>

#include "support/both_pools.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>

namespace slabbuf {
namespace {

constexpr std::size_t oversize = (std::size_t{1} << 20) + 1;

TEST(failure_test, EveryMisuseHasItsName) {
  EXPECT_STREQ(to_string(misuse::foreign_pointer), "foreign_pointer");
  EXPECT_STREQ(to_string(misuse::other_pool), "other_pool");
  EXPECT_STREQ(to_string(misuse::not_a_block), "not_a_block");
  EXPECT_STREQ(to_string(misuse::size_mismatch), "size_mismatch");
  EXPECT_STREQ(to_string(misuse::double_put), "double_put");
  EXPECT_STREQ(to_string(misuse::pool_died_in_use), "pool_died_in_use");
}

void ignore_report(const misuse_report&) noexcept {}

void print_kind(const misuse_report& report) noexcept {
  std::fprintf(stderr, "handler: %s of %zu bytes in %zu\n", to_string(report.kind), report.size_bytes,
               report.class_size);
}

TEST(failure_test, SettingAHandlerReturnsTheOneBefore) {
  const misuse_handler original = set_misuse_handler(&ignore_report);
  ASSERT_NE(original, nullptr);
  EXPECT_EQ(set_misuse_handler(&print_kind), &ignore_report);
  EXPECT_EQ(set_misuse_handler(nullptr), &print_kind);
  EXPECT_EQ(set_misuse_handler(original), original) << "null restores the default";
}

template <class Pool>
class failure_death_test : public ::testing::Test {
 protected:
  Pool pool_;
};
TYPED_TEST_SUITE(failure_death_test, support::both_pools, support::pool_name);

TYPED_TEST(failure_death_test, ReportsAForeignPointer) {
  std::byte on_stack[64]{};
  const auto on_heap = std::make_unique<std::byte[]>(64);
  EXPECT_DEATH(this->pool_.put_buffer(on_stack, 64), "slabbuf: foreign_pointer");
  EXPECT_DEATH(this->pool_.put_buffer(on_heap.get(), 0), "slabbuf: foreign_pointer");
  EXPECT_DEATH(this->pool_.put_buffer(reinterpret_cast<void*>(UINTPTR_MAX), 1), "slabbuf: foreign_pointer");
}

TYPED_TEST(failure_death_test, ReportsABlockOfAnotherPool) {
  local_pool other;
  for (const std::size_t size : std::initializer_list<std::size_t>{std::size_t{100}, oversize}) {
    const raw_buffer raw = other.get_buffer(size);
    EXPECT_DEATH(this->pool_.put_buffer(raw), "slabbuf: other_pool");
    other.put_buffer(raw);
  }
}

TYPED_TEST(failure_death_test, ReportsAnAddressInsideABlock) {
  for (const std::size_t size : std::initializer_list<std::size_t>{std::size_t{100}, oversize}) {
    const raw_buffer raw = this->pool_.get_buffer(size);
    EXPECT_DEATH(this->pool_.put_buffer(raw.data + 1, 1), "slabbuf: not_a_block");
    EXPECT_DEATH(this->pool_.put_buffer(raw.data + 64, 1), "slabbuf: not_a_block");
    this->pool_.put_buffer(raw);
  }
}

TYPED_TEST(failure_death_test, ReportsASizeTheBlockDoesNotHave) {
  const raw_buffer raw = this->pool_.get_buffer(100);
  EXPECT_DEATH(this->pool_.put_buffer(raw.data, 129), "slabbuf: size_mismatch.*size 129, class 128");
  EXPECT_DEATH(this->pool_.put_buffer(raw.data, SIZE_MAX), "slabbuf: size_mismatch");
  this->pool_.put_buffer(raw);

  const raw_buffer large = this->pool_.get_buffer(oversize);
  EXPECT_DEATH(this->pool_.put_buffer(large.data, oversize + page_size()), "slabbuf: size_mismatch");
  this->pool_.put_buffer(large);
}

TYPED_TEST(failure_death_test, ReportsABlockPutTwiceAtOnce) {
  const raw_buffer raw = this->pool_.get_buffer(100);
  EXPECT_DEATH(
      {
        this->pool_.put_buffer(raw);
        this->pool_.put_buffer(raw);
        std::_Exit(0);
      },
      "slabbuf: double_put: .*size 100, class 128");
  this->pool_.put_buffer(raw);
}

TYPED_TEST(failure_death_test, ReportsABlockThatABufferOwns) {
  const buffer owner = this->pool_.acquire(100);
  void* const address = const_cast<std::byte*>(owner.data());
  EXPECT_DEATH(
      {
        this->pool_.put_buffer(address, 100);
        std::_Exit(0);
      },
      "slabbuf: double_put");
  EXPECT_DEATH(
      {
        const raw_buffer raw = this->pool_.get_buffer(100);
        this->pool_.put_buffer(raw);
        const buffer next = this->pool_.acquire(100);  // the same block
        this->pool_.put_buffer(raw);
        std::_Exit(0);
      },
      "slabbuf: double_put");
}

TYPED_TEST(failure_death_test, ReportsAnOversizeBlockPutTwice) {
  const raw_buffer raw = this->pool_.get_buffer(oversize);
  EXPECT_DEATH(
      {
        this->pool_.put_buffer(raw);
        this->pool_.put_buffer(raw);
      },
      "slabbuf: (foreign_pointer|double_put)");
  this->pool_.put_buffer(raw);
}

TYPED_TEST(failure_death_test, ReportsAPoolThatDiesWhileBuffersAreOut) {
  for (const std::size_t size : std::initializer_list<std::size_t>{std::size_t{100}, oversize}) {
    EXPECT_DEATH(
        {
          std::optional<TypeParam> pool(std::in_place);
          const buffer one = pool->acquire(size);
          const buffer two = pool->acquire(size);
          pool.reset();
        },
        "slabbuf: pool_died_in_use: .* with 2 buffers");
  }
}

TYPED_TEST(failure_death_test, SaysHowManyWaitWhenAPoolDies) {
  EXPECT_DEATH(
      {
        std::optional<TypeParam> pool(std::in_place, pool_options{.budget_bytes_max = 4096});
        const buffer one = pool->acquire(4096);
        detail::waiter waiting;
        waiting.size = 4096;
        waiting.told = [](detail::waiter&) noexcept {};
        pool->core().wait(waiting);
        pool.reset();
      },
      "slabbuf: pool_died_in_use: .* with 1 buffer in use and 1 waiting for the budget");
}

TYPED_TEST(failure_death_test, TheHandlerIsCalledAndTheProcessAbortedAfterIt) {
  const raw_buffer raw = this->pool_.get_buffer(100);
  EXPECT_EXIT(
      {
        set_misuse_handler(&print_kind);
        this->pool_.put_buffer(raw.data, 200);
      },
      ::testing::KilledBySignal(SIGABRT), "handler: size_mismatch of 200 bytes in 128");
  EXPECT_EXIT(
      {
        set_misuse_handler(&ignore_report);
        this->pool_.put_buffer(raw.data, 200);
      },
      ::testing::KilledBySignal(SIGABRT), "");
  this->pool_.put_buffer(raw);
}

}  // namespace
}  // namespace slabbuf
