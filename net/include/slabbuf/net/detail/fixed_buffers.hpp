// SPDX-License-Identifier: MIT
// Memory registered with the ring of an io_context, for as long as there is a ring.
// Threads: registering, one.
// Lifetime: the registration belongs to the context and goes with it; the memory must live at least as long as
// operations on it do.
//
// Asio's own handle must die before the context, while pools die after it: so a service of the context keeps it.
// Services are destroyed youngest first, and the ring's is older.
#pragma once

#include <asio/buffer.hpp>
#include <asio/buffer_registration.hpp>
#include <asio/execution_context.hpp>
#include <asio/registered_buffer.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace slabbuf::net::detail {

/// One for each part of the memory, in order.
using fixed_buffers = std::vector<asio::mutable_registered_buffer>;

class fixed_buffer_service : public asio::execution_context::service {
 public:
  inline static asio::execution_context::id id;

  fixed_buffer_service(asio::execution_context& context, const std::vector<asio::mutable_buffer>& parts)
      : service(context), registration_(context, parts) {}

  fixed_buffers buffers() const { return {registration_.begin(), registration_.end()}; }

 private:
  void shutdown() override {}  // the ring still has operations

  asio::buffer_registration<std::vector<asio::mutable_buffer>> registration_;
};

/// What a refusal means to whoever has to do something about it.
inline std::string describe_refusal(std::size_t bytes, int why) {
  std::string text = "registered_pool: cannot register " + std::to_string(bytes) + " bytes";
  if (why == ENOMEM) {
    ::rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    text += limit.rlim_cur == RLIM_INFINITY ? " (RLIMIT_MEMLOCK is unlimited)"
                                            : " (RLIMIT_MEMLOCK is " + std::to_string(limit.rlim_cur) +
                                                  " bytes for all this user has locked; ulimit -l)";
  } else if (why == EBUSY) {
    text += " (the io_context has registered buffers, and can have them once)";
  } else if (why == EPERM || why == ENOSYS) {
    text +=
        " (this system permits no io_uring: see sysctl kernel.io_uring_disabled and the seccomp profile of the "
        "container; a concurrent_pool needs none)";
  }
  return text;
}

/// Registers `memory` in parts of `part_bytes_max`. Throws std::system_error as registered_pool says.
inline fixed_buffers register_fixed_buffers(asio::execution_context& context, std::span<std::byte> memory,
                                            std::size_t part_bytes_max) {
  std::vector<asio::mutable_buffer> parts;
  for (std::size_t at = 0; at < memory.size(); at += part_bytes_max) {
    const auto part = memory.subspan(at, std::min(part_bytes_max, memory.size() - at));
    parts.emplace_back(part.data(), part.size());
  }
  try {
    if (asio::has_service<fixed_buffer_service>(context)) throw std::system_error(EBUSY, std::system_category());
    return asio::make_service<fixed_buffer_service>(context, parts).buffers();
  } catch (const std::system_error& refusal) {
    // Not Asio's category, which knows nothing of std::errc.
    const int why = refusal.code().value();
    throw std::system_error(why, std::system_category(), describe_refusal(memory.size(), why));
  }
}

}  // namespace slabbuf::net::detail
