// SPDX-License-Identifier: MIT
#include <slabbuf/pool/pool_options.hpp>

#include <cstdio>

namespace slabbuf {

acquire_failed::acquire_failed(const char* reason, std::size_t requested_bytes, std::size_t limit_bytes) noexcept
    : requested_bytes_(requested_bytes), limit_bytes_(limit_bytes) {
  if (limit_bytes == 0) {
    std::snprintf(message_, sizeof message_, "slabbuf: a buffer of %zu bytes %s", requested_bytes, reason);
  } else {
    std::snprintf(message_, sizeof message_, "slabbuf: a buffer of %zu bytes %s %zu bytes", requested_bytes, reason,
                  limit_bytes);
  }
}

acquire_failed::acquire_failed(const char* reason, std::size_t requested_bytes, std::size_t limit_bytes,
                               std::size_t taken_bytes) noexcept
    : requested_bytes_(requested_bytes), limit_bytes_(limit_bytes) {
  std::snprintf(message_, sizeof message_, "slabbuf: a buffer of %zu bytes %s %zu bytes, of which %zu are taken",
                requested_bytes, reason, limit_bytes, taken_bytes);
}

}  // namespace slabbuf
