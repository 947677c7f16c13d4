// SPDX-License-Identifier: MIT
#include <slabbuf/pool/page_source.hpp>

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace slabbuf {
namespace {

// Newer than some C libraries: Linux 5.4 and 5.14.
constexpr int advice_cold = 20;
constexpr int advice_populate_write = 23;

constexpr int map_huge_2_mib = 21 << MAP_HUGE_SHIFT;  // the size's logarithm, in the flags of mmap
static_assert(huge_page_bytes == std::size_t{1} << 21);

constexpr int node_count_max = 1024;  // the most a kernel can be built for

// mmap aligns to `unit` only. Map what is missing to the next multiple as well, cut it off after.
void* map_aligned(std::size_t size, std::size_t alignment, std::size_t unit, int flags) noexcept {
  const std::size_t slack = alignment - unit;
  if (size == 0 || size > SIZE_MAX - slack) return nullptr;
  void* const mapping =
      ::mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapping);
  const std::size_t misalignment = reinterpret_cast<std::uintptr_t>(begin) & (alignment - 1);
  const std::size_t before = misalignment == 0 ? 0 : alignment - misalignment;
  if (before != 0) ::munmap(begin, before);
  if (before != slack) ::munmap(begin + before + size, slack - before);
  return begin + before;
}

// Whether `choice` is the one in brackets in a file like "always [madvise] never".
bool is_chosen(const char* path, std::string_view choice) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "re"), &std::fclose);
  if (file == nullptr) return false;
  std::array<char, 100> line{};
  const std::size_t length = std::fread(line.data(), 1, line.size(), file.get());
  return std::string_view(line.data(), length).find(choice) != std::string_view::npos;
}

// For this process, for this size (Linux 6.8), for all sizes. What cannot be read is taken for on.
bool transparent_huge_pages_are_off() {
  if (::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1) return true;
  const char* const of_size = "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled";
  if (is_chosen(of_size, "[never]")) return true;
  if (is_chosen(of_size, "[always]") || is_chosen(of_size, "[madvise]")) return false;
  return is_chosen("/sys/kernel/mm/transparent_hugepage/enabled", "[never]");
}

bool prefer_node(void* address, std::size_t size, int node) noexcept {
  constexpr std::size_t word_bits = 8 * sizeof(unsigned long);
  std::array<unsigned long, node_count_max / word_bits> nodes{};
  const auto index = static_cast<std::size_t>(node);
  nodes[index / word_bits] = 1UL << (index % word_bits);
  // By number: libnuma would be a dependency for one call. The kernel reads one bit less than it is told.
  return ::syscall(SYS_mbind, address, size, MPOL_PREFERRED, nodes.data(), node_count_max + 1, 0) == 0;
}

// One write a page makes it resident. What it contains stays: the range may have been used before.
void touch(void* address, std::size_t size) noexcept {
  auto* const bytes = static_cast<volatile char*>(address);
  for (std::size_t at = 0; at < size; at += page_size()) bytes[at] = bytes[at];
}

page_backing checked(const page_backing& backing) {
  if (backing.numa_node < -1 || backing.numa_node >= node_count_max) {
    throw std::invalid_argument("page_backing: " + std::to_string(backing.numa_node) + " is no NUMA node (0 to " +
                                std::to_string(node_count_max - 1) + ", or -1)");
  }
  return backing;
}

}  // namespace

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

system_page_source::system_page_source(const page_backing& backing)
    : backing_(checked(backing)),
      transparent_off_(backing.huge == huge_pages::transparent && transparent_huge_pages_are_off()) {}

void* system_page_source::map(std::size_t size, std::size_t alignment) noexcept {
  const std::size_t huge_alignment = std::max(alignment, huge_page_bytes);
  void* memory = nullptr;
  bool granted = true;
  if (backing_.huge == huge_pages::reserved) {
    // Not MAP_NORESERVE: a page that turns out to be missing when it is touched kills the process.
    if (size % huge_page_bytes == 0) {
      memory = map_aligned(size, huge_alignment, huge_page_bytes, MAP_HUGETLB | map_huge_2_mib);
    }
    granted = memory != nullptr;
  }
  if (memory == nullptr) {
    const bool whole = backing_.huge == huge_pages::transparent && size >= huge_page_bytes;
    memory = map_aligned(size, whole ? huge_alignment : alignment, page_size(), MAP_NORESERVE);
  }
  if (memory == nullptr) return nullptr;
  granted = advise(memory, size) && granted;
  if (backing_.numa_node >= 0) granted = prefer_node(memory, size, backing_.numa_node) && granted;
  if (!granted) refused_.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

// What is asked of a mapping that exists. Returns whether it is granted.
bool system_page_source::advise(void* address, std::size_t size) const noexcept {
  switch (backing_.huge) {
    case huge_pages::transparent: return ::madvise(address, size, MADV_HUGEPAGE) == 0 && !transparent_off_;
    // A kernel without huge pages does not know the word and does what it asks for.
    case huge_pages::never: return ::madvise(address, size, MADV_NOHUGEPAGE) == 0 || errno == EINVAL;
    case huge_pages::system_default:
    case huge_pages::reserved: break;
  }
  return true;
}

void system_page_source::unmap(void* address, std::size_t size) noexcept { ::munmap(address, size); }

bool system_page_source::purge(void* address, std::size_t size) noexcept {
  // Reserved pages stay: part of one cannot go (kernels round the range, some of them up, over blocks in
  // use), and for a whole one older kernels forget the reservation. Cooling ordinary pages that are
  // about to go changes nothing; for reserved ones it is refused, and so tells them from those that are
  // ordinary because no more were left.
  if (backing_.huge == huge_pages::reserved && ::madvise(address, size, advice_cold) != 0) return false;
  // MADV_DONTNEED and not MADV_FREE: the pages read as zero from here on, which the zeroing of
  // fresh blocks relies on, and the process shrinks at once, which is what a caller asked for.
  return ::madvise(address, size, MADV_DONTNEED) == 0;
}

bool system_page_source::populate(void* address, std::size_t size) noexcept {
  if (!backing_.prefault) return false;
  if (::madvise(address, size, advice_populate_write) == 0) return true;
  if (errno == EINVAL) {
    touch(address, size);  // before Linux 5.14
  } else {
    refused_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

page_source& page_source::system() noexcept {
  // Never destroyed: pools with static storage duration may outlive any other order of destruction.
  alignas(system_page_source) static std::byte storage[sizeof(system_page_source)];
  static page_source* const source = new (storage) system_page_source;
  return *source;
}

}  // namespace slabbuf
