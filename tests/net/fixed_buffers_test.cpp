// SPDX-License-Identifier: MIT
// Memory registered with a ring: its parts, and what a refusal says.
#include <slabbuf/net/detail/fixed_buffers.hpp>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <asio/io_context.hpp>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

std::optional<::rlim_t> pretended_limit;

}  // namespace

// In front of the C library's, for a limit that only a privileged process could set.
extern "C" int getrlimit(__rlimit_resource_t resource, ::rlimit* limit) noexcept {
  if (!pretended_limit || resource != RLIMIT_MEMLOCK)
    return ::prlimit(0, static_cast<__rlimit_resource>(resource), nullptr, limit);
  *limit = {*pretended_limit, *pretended_limit};
  return 0;
}

namespace slabbuf::net::detail {
namespace {

struct with_limit {
  explicit with_limit(::rlim_t bytes) { pretended_limit = bytes; }
  with_limit(const with_limit&) = delete;
  with_limit& operator=(const with_limit&) = delete;
  ~with_limit() { pretended_limit.reset(); }
};

TEST(FixedBuffersRefusal, SaysHowMuchMayBeLocked) {
  const with_limit limited(65536);
  EXPECT_EQ(describe_refusal(1 << 20, ENOMEM),
            "registered_pool: cannot register 1048576 bytes (RLIMIT_MEMLOCK is 65536 bytes for all this user has "
            "locked; ulimit -l)");
}

TEST(FixedBuffersRefusal, SaysThatTheLimitIsNotWhy) {
  const with_limit unlimited(RLIM_INFINITY);
  EXPECT_EQ(describe_refusal(1 << 20, ENOMEM),
            "registered_pool: cannot register 1048576 bytes (RLIMIT_MEMLOCK is unlimited)");
}

TEST(FixedBuffersRefusal, SaysThatARingTakesOneRegistration) {
  EXPECT_EQ(describe_refusal(4096, EBUSY),
            "registered_pool: cannot register 4096 bytes (the io_context has registered buffers, and can have them "
            "once)");
}

TEST(FixedBuffersRefusal, SaysThatTheSystemPermitsNoRing) {
  for (const int why : {EPERM, ENOSYS}) {
    EXPECT_EQ(describe_refusal(4096, why),
              "registered_pool: cannot register 4096 bytes (this system permits no io_uring: see sysctl "
              "kernel.io_uring_disabled and the seccomp profile of the container; a concurrent_pool needs none)");
  }
}

TEST(FixedBuffersRefusal, LeavesOtherReasonsToTheErrorItself) {
  EXPECT_EQ(describe_refusal(4096, EINVAL), "registered_pool: cannot register 4096 bytes");
}

class FixedBuffers : public ::testing::Test {
 protected:
  static constexpr std::size_t part_bytes_max = 4096;

  // Of memory this large: its parts, which must be all of it, in order.
  std::vector<std::size_t> part_sizes(std::size_t bytes) {
    asio::io_context context;
    const std::span<std::byte> memory = std::span(memory_).first(bytes);
    std::vector<std::size_t> sizes;
    std::size_t at = 0;
    for (const asio::mutable_registered_buffer& part : register_fixed_buffers(context, memory, part_bytes_max)) {
      EXPECT_EQ(part.data(), memory.data() + at);
      EXPECT_EQ(part.id().native_handle(), static_cast<int>(sizes.size()));
      sizes.push_back(part.size());
      at += part.size();
    }
    EXPECT_EQ(at, bytes);
    return sizes;
  }

  // What registering `memory` is refused for, in words that begin with `text`.
  int refusal_of(std::span<std::byte> memory, std::string_view text) {
    try {
      register_fixed_buffers(context_, memory, part_bytes_max);
    } catch (const std::system_error& refusal) {
      EXPECT_EQ(refusal.code().category(), std::system_category());
      EXPECT_TRUE(std::string_view(refusal.what()).starts_with(text)) << refusal.what();
      return refusal.code().value();
    }
    return 0;
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(3 * part_bytes_max);
  asio::io_context context_;
};

TEST_F(FixedBuffers, AreWholePartsAndARest) {
  using sizes = std::vector<std::size_t>;
  EXPECT_EQ(part_sizes(1), sizes({1}));
  EXPECT_EQ(part_sizes(4095), sizes({4095}));
  EXPECT_EQ(part_sizes(4096), sizes({4096}));
  EXPECT_EQ(part_sizes(4097), sizes({4096, 1}));
  EXPECT_EQ(part_sizes(8192), sizes({4096, 4096}));
  EXPECT_EQ(part_sizes(10'000), sizes({4096, 4096, 1808}));
}

TEST_F(FixedBuffers, ARefusalSaysWhyAndKeepsNothing) {
  void* const nobodys = ::mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(nobodys, MAP_FAILED);
  EXPECT_EQ(refusal_of({static_cast<std::byte*>(nobodys), 8192}, "registered_pool: cannot register 8192 bytes: "),
            EFAULT);
  ::munmap(nobodys, 8192);
  EXPECT_EQ(refusal_of(memory_, ""), 0) << "as if nothing had been asked before";
  EXPECT_EQ(refusal_of(memory_, "registered_pool: cannot register 12288 bytes (the io_context has "), EBUSY);
}

}  // namespace
}  // namespace slabbuf::net::detail
