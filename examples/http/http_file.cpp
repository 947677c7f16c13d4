// SPDX-License-Identifier: MIT
#include "http/http_file.hpp"

#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>

namespace slabbuf::examples {
namespace {

// Each probe is a system call.
constexpr std::uint64_t probe_every_bytes = std::uint64_t{512} << 10;
// What the system reads ahead at once: where its first page is, the rest is, or is on its way.
constexpr std::uint64_t read_ahead_bytes = std::uint64_t{128} << 10;

// Of the first 8 GiB of a file it is remembered, in 16 KiB: more would be probed each time.
constexpr std::uint64_t remembered_parts_max = 4096;
// What was in memory a moment ago nearly always is; where memory is so short that it is not, sending waits for the disk
// this once.
constexpr std::uint32_t remembered_ms = 250;

bool is_memory(int descriptor) noexcept {
  struct ::statfs system {};
  if (::fstatfs(descriptor, &system) != 0) return false;
  return system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC;
}

}  // namespace

void unique_descriptor::reset() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

http_file::http_file(unique_descriptor descriptor, std::uint64_t size)
    : descriptor_(std::move(descriptor)),
      size_(size),
      warm_at_ms_(static_cast<std::size_t>(
          std::min(size / part_bytes + (size % part_bytes != 0 ? 1 : 0), remembered_parts_max))) {}

std::ptrdiff_t http_file::read_without_waiting(std::span<std::byte> into, std::uint64_t offset) const noexcept {
  const ::iovec part{into.data(), into.size()};
  return ::preadv2(descriptor_.get(), &part, 1, static_cast<::off_t>(offset), RWF_NOWAIT);
}

http_file::read_status http_file::read_now(std::span<std::byte> into, std::uint64_t offset) const noexcept {
  switch (probing_.load(std::memory_order_relaxed)) {
    case probing::works: break;
    case probing::needless: return read(into, offset);
    case probing::impossible: return read_status::cold;
  }
  while (!into.empty()) {
    const std::ptrdiff_t got = read_without_waiting(into, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return read_status::cold;
    if (got < 0 && errno == EOPNOTSUPP) {
      const bool memory = is_memory(descriptor_.get());
      probing_.store(memory ? probing::needless : probing::impossible, std::memory_order_relaxed);
      return memory ? read(into, offset) : read_status::cold;
    }
    if (got < 0) return read_status::failed;
    if (got == 0) return read_status::ended;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return read_status::all;
}

http_file::read_status http_file::read(std::span<std::byte> into, std::uint64_t offset) const noexcept {
  while (!into.empty()) {
    const ::ssize_t got = ::pread(descriptor_.get(), into.data(), into.size(), static_cast<::off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return read_status::failed;
    if (got == 0) return read_status::ended;
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return read_status::all;
}

std::uint32_t http_file::now_ms() const noexcept {
  ::timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);  // no system call, and fine enough
  return static_cast<std::uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

bool http_file::is_warm(std::uint64_t offset, std::uint64_t count) const noexcept {
  if (probing_.load(std::memory_order_relaxed) == probing::needless) return true;
  const std::uint64_t index = offset / part_bytes;
  if (index >= warm_at_ms_.size() || offset % part_bytes + count > part_bytes) return probe(offset, count);
  std::atomic<std::uint32_t>& warm_at_ms = warm_at_ms_[static_cast<std::size_t>(index)];
  const std::uint32_t now = std::max(now_ms(), std::uint32_t{1});  // 0 is never
  const std::uint32_t before = warm_at_ms.load(std::memory_order_relaxed);
  if (before != 0 && now - before < remembered_ms) return true;
  if (!probe(offset, count)) return false;
  const bool whole = offset % part_bytes == 0 && offset + count >= std::min(offset + part_bytes, size_);
  if (whole) warm_at_ms.store(now, std::memory_order_relaxed);
  return true;
}

bool http_file::probe(std::uint64_t offset, std::uint64_t count) const noexcept {
  std::array<std::byte, 1> byte{};
  const std::uint64_t end = offset + count;
  for (; offset < end; offset += probe_every_bytes) {
    if (read_now(byte, offset) == read_status::cold) return false;
    // Behind the last of these probes there may be more than what has come with it.
    const bool is_last = end - offset <= probe_every_bytes;
    if (is_last && end - offset > read_ahead_bytes && read_now(byte, end - 1) == read_status::cold) return false;
  }
  return true;
}

void http_file::warm(std::uint64_t offset, std::uint64_t count) const noexcept {
  std::array<std::byte, 32 << 10> scratch;  // NOLINT: what is read into it is of no interest
  for (const std::uint64_t end = offset + count; offset < end;) {
    const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(scratch.size(), end - offset));
    if (read(std::span(scratch).first(part), offset) != read_status::all) return;
    offset += part;
  }
}

}  // namespace slabbuf::examples
