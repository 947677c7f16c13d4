// SPDX-License-Identifier: MIT
// Linked to the test programs of a build with SLABBUF_IO_URING: where the machine forbids io_uring (a container's
// seccomp filter, kernel.io_uring_disabled), they say so and skip every test, instead of failing in each.
#include <gtest/gtest.h>
#include <liburing.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace slabbuf::support {
namespace {

class io_uring_permission : public ::testing::Environment {
 public:
  void SetUp() override {
    io_uring ring{};
    const int result = io_uring_queue_init(1, &ring, 0);
    if (result == 0) {
      io_uring_queue_exit(&ring);
    } else if (result == -EPERM || result == -ENOSYS) {
      // ctest looks for this line.
      std::printf("[  SKIPPED ] no io_uring on this machine: %s\n", std::strerror(-result));
      GTEST_SKIP();
    }
  }
};

[[maybe_unused]] const auto* const added = ::testing::AddGlobalTestEnvironment(new io_uring_permission);

}  // namespace
}  // namespace slabbuf::support
