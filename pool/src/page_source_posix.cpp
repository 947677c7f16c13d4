// SPDX-License-Identifier: MIT
#include <slabbuf/pool/page_source.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

namespace slabbuf {
namespace {

class system_page_source final : public page_source {
 public:
  void* map(std::size_t size, std::size_t alignment) noexcept override {
    // mmap aligns to a page only. Map what is missing to the next multiple as well, cut it off after.
    const std::size_t slack = alignment - page_size();
    if (size == 0 || size > SIZE_MAX - slack) return nullptr;
    void* const mapping =
        ::mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    auto* const begin = static_cast<std::byte*>(mapping);
    const std::size_t misalignment = reinterpret_cast<std::uintptr_t>(begin) & (alignment - 1);
    const std::size_t before = misalignment == 0 ? 0 : alignment - misalignment;
    if (before != 0) ::munmap(begin, before);
    if (before != slack) ::munmap(begin + before + size, slack - before);
    return begin + before;
  }

  void unmap(void* address, std::size_t size) noexcept override { ::munmap(address, size); }

  bool purge(void* address, std::size_t size) noexcept override {
    // MADV_DONTNEED and not MADV_FREE: the pages read as zero from here on, which the zeroing of
    // fresh blocks relies on, and the process shrinks at once, which is what a caller asked for.
    return ::madvise(address, size, MADV_DONTNEED) == 0;
  }
};

}  // namespace

std::size_t page_size() noexcept {
  static const std::size_t size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

page_source& page_source::system() noexcept {
  // Never destroyed: pools with static storage duration may outlive any other order of destruction.
  alignas(system_page_source) static std::byte storage[sizeof(system_page_source)];
  static page_source* const source = new (storage) system_page_source;
  return *source;
}

}  // namespace slabbuf
