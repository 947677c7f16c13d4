// SPDX-License-Identifier: MIT
#include <slabbuf/pool/failure.hpp>

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace slabbuf {
namespace {

void print_report(const misuse_report& report) noexcept {
  if (report.kind == misuse::pool_died_in_use) {
    std::fprintf(stderr, "slabbuf: %s: pool %p destroyed with %zu buffer%s in use", to_string(report.kind),
                 report.address, report.size_bytes, report.size_bytes == 1 ? "" : "s");
    if (report.waiting != 0) std::fprintf(stderr, " and %zu waiting for the budget", report.waiting);
  } else {
    std::fprintf(stderr, "slabbuf: %s: address %p", to_string(report.kind), report.address);
    if (report.size_bytes != 0) std::fprintf(stderr, ", size %zu", report.size_bytes);
    if (report.class_size != 0) std::fprintf(stderr, ", class %zu", report.class_size);
  }
  std::fputc('\n', stderr);
  if (report.sampled == nullptr) return;
  const provenance& by = *report.sampled;
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - by.since);
  std::fprintf(stderr, "slabbuf: block %p was acquired for %zu bytes %lld ms ago by thread %lld at\n", by.data, by.size,
               static_cast<long long>(age.count()), static_cast<long long>(by.thread));
  std::fflush(stderr);
  // Without the heap, which may be what was damaged.
  ::backtrace_symbols_fd(by.frames.data(), static_cast<int>(by.frame_count), STDERR_FILENO);
}

// Relaxed: a handler is a plain function, so nothing else is published with it.
constinit std::atomic<misuse_handler> current_handler{&print_report};

}  // namespace

const char* to_string(misuse kind) noexcept {
  switch (kind) {
    case misuse::foreign_pointer: return "foreign_pointer";
    case misuse::other_pool: return "other_pool";
    case misuse::not_a_block: return "not_a_block";
    case misuse::size_mismatch: return "size_mismatch";
    case misuse::double_put: return "double_put";
    case misuse::overrun: return "overrun";
    case misuse::use_after_return: return "use_after_return";
    case misuse::pool_died_in_use: return "pool_died_in_use";
  }
  return "unknown";
}

misuse_handler set_misuse_handler(misuse_handler handler) noexcept {
  return current_handler.exchange(handler != nullptr ? handler : &print_report, std::memory_order_relaxed);
}

namespace detail {

void report_misuse(const misuse_report& report) noexcept {
  current_handler.load(std::memory_order_relaxed)(report);
  std::abort();
}

}  // namespace detail
}  // namespace slabbuf
