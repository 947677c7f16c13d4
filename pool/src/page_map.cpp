// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/page_map.hpp>

#include <slabbuf/pool/page_source.hpp>

namespace slabbuf::detail {

// Zero pages until touched: the 512 KiB cost nothing but address space.
constinit std::atomic<page_map::leaf*> page_map::root_[std::size_t{1} << 16]{};

page_map::leaf* page_map::leaf_for(std::uintptr_t bits) noexcept {
  std::atomic<leaf*>& slot = root_[bits >> 32];
  leaf* current = slot.load(std::memory_order_acquire);
  if (current != nullptr) return current;

  // Straight from the system, whatever source a pool uses: the map outlives them all. Mapped memory
  // is zero, which is a leaf of null pointers.
  page_source& pages = page_source::system();
  void* const memory = pages.map(sizeof(leaf), page_size());
  if (memory == nullptr) return nullptr;
  auto* const made = static_cast<leaf*>(memory);
  if (!slot.compare_exchange_strong(current, made, std::memory_order_acq_rel, std::memory_order_acquire)) {
    pages.unmap(memory, sizeof(leaf));  // another thread was first
    return current;
  }
  return made;
}

bool page_map::set(const std::byte* base, std::size_t bytes, slab* owner) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(base);
  // Every leaf first, so that a refusal leaves nothing half done.
  constexpr std::uintptr_t leaf_span = std::uintptr_t{1} << 32;
  for (std::uintptr_t bits = begin & ~(leaf_span - 1); bits < begin + bytes; bits += leaf_span) {
    if (leaf_for(bits) == nullptr) return false;
  }
  for (std::uintptr_t bits = begin; bits < begin + bytes; bits += granule_bytes) {
    entry(leaf_for(bits), bits).store(owner, std::memory_order_release);
  }
  return true;
}

void page_map::clear(const std::byte* base, std::size_t bytes) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(base);
  for (std::uintptr_t bits = begin; bits < begin + bytes; bits += granule_bytes) {
    entry(root_[bits >> 32].load(std::memory_order_acquire), bits).store(nullptr, std::memory_order_release);
  }
}

}  // namespace slabbuf::detail
