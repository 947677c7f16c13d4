// SPDX-License-Identifier: MIT
#include "common/descriptors.hpp"

#include <sys/resource.h>

namespace slabbuf::examples {

std::size_t raise_descriptor_limit() noexcept {
  ::rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const ::rlimit raised{limit.rlim_max, limit.rlim_max};
  return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? limit.rlim_max : limit.rlim_cur;
}

}  // namespace slabbuf::examples
