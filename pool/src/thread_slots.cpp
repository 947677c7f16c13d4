// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/thread_slots.hpp>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slabbuf::detail {

bool prepare_heavy_barrier() noexcept {
  static const bool registered = ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
}

bool heavy_barrier() noexcept {
  return prepare_heavy_barrier() && ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace slabbuf::detail
