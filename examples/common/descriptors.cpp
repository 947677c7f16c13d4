// SPDX-License-Identifier: MIT
#include "common/descriptors.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>

namespace slabbuf::examples {

std::size_t raise_descriptor_limit() noexcept {
  ::rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const ::rlimit raised{limit.rlim_max, limit.rlim_max};
  return ::setrlimit(RLIMIT_NOFILE, &raised) == 0 ? limit.rlim_max : limit.rlim_cur;
}

std::size_t connections_within(std::size_t descriptors, std::size_t own, std::size_t reserved, std::size_t asked_for) {
  const std::size_t left = descriptors - std::min(own, descriptors);
  const std::size_t possible = std::max(left - std::min(reserved, left / 2), std::size_t{1});
  if (possible >= asked_for || descriptors == 0) return asked_for;
  spdlog::warn("at most {} connections, not {}: the system allows {} descriptors (ulimit -n)", possible, asked_for,
               descriptors);
  return possible;
}

}  // namespace slabbuf::examples
