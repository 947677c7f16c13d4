// SPDX-License-Identifier: MIT
#include <slabbuf/pool/pmr_resource.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/failure.hpp>

#include <bit>
#include <new>

namespace slabbuf {
namespace {

// The size to ask for, so that the block is large enough and aligned: that of the first class that is
// both, else one more than the largest, which is pages of its own.
std::size_t aligned_size(const detail::pool_core& pool, std::size_t bytes, std::size_t alignment) noexcept {
  const size_class_table& classes = pool.size_classes();
  for (std::size_t index = classes.find(bytes); index < classes.count(); ++index) {
    const std::size_t size = classes.size_of(index);
    if (pool.alignment_of(size) >= alignment) return size;
  }
  return bytes > classes.largest() ? bytes : classes.largest() + 1;
}

}  // namespace

void* pmr_resource::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (alignment > alignment_max) throw std::bad_alloc();
  const std::size_t size = aligned_size(*pool_, bytes, alignment);
  detail::pool_core::taken got;
  if (pool_->shared() ? pool_->take<true>(size, got) : pool_->take<false>(size, got)) return got.data;
  const detail::pool_core::taken_or_refused slow = pool_->take_slow(size);
  if (slow.data == nullptr) pool_->throw_refused(size, slow.why);
  return slow.data;
}

void pmr_resource::do_deallocate(void* memory, std::size_t bytes, std::size_t /*alignment*/) {
  if (!detail::pool_core::give_by_address(memory, bytes)) {
    detail::report_misuse({misuse::foreign_pointer, memory, bytes, 0});
  }
}

bool pmr_resource::do_is_equal(const std::pmr::memory_resource& other) const noexcept {
  const auto* const same_kind = dynamic_cast<const pmr_resource*>(&other);
  return same_kind != nullptr && same_kind->pool_ == pool_;
}

}  // namespace slabbuf
