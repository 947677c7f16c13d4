// SPDX-License-Identifier: MIT
#include "support/failing_page_source.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace slabbuf::support {

void* failing_page_source::map(std::size_t size, std::size_t alignment) noexcept {
  const std::lock_guard lock(mutex_);
  ++map_calls_;
  const bool refused = (map_calls_ >= fail_first_ && map_calls_ <= fail_last_) || size > map_bytes_max_ ||
                       all_mapped_bytes() + size > mapped_bytes_max_;
  failed_ = failed_ || refused;
  if (refused) return nullptr;
  EXPECT_EQ(size % page_size(), 0U);
  EXPECT_LT(mapping_count_, mapping_count_max) << "the record is full";
  auto* const base = static_cast<std::byte*>(page_source::system().map(size, alignment));
  if (base != nullptr) mappings_[mapping_count_++] = {base, size};
  return base;
}

void failing_page_source::unmap(void* address, std::size_t size) noexcept {
  const std::lock_guard lock(mutex_);
  mapping* const end = mappings_.data() + mapping_count_;
  mapping* const found = std::find_if(mappings_.data(), end, [&](const mapping& each) { return each.base == address; });
  if (found == end || found->size != size) {
    ADD_FAILURE() << "unmap(" << address << ", " << size << ") is not what map() returned";
    return;
  }
  *found = mappings_[--mapping_count_];
  page_source::system().unmap(address, size);
}

bool failing_page_source::purge(void* address, std::size_t size) noexcept {
  const std::lock_guard lock(mutex_);
  const auto* const begin = static_cast<const std::byte*>(address);
  const mapping* const end = mappings_.data() + mapping_count_;
  EXPECT_TRUE(std::any_of<const mapping*>(mappings_.data(), end, [&](const mapping& each) {
    return each.base <= begin && begin + size <= each.base + each.size;
  })) << "purge() of memory that is not mapped";
  EXPECT_EQ(size % page_size(), 0U);
  if (refuse_purge_ || !page_source::system().purge(address, size)) return false;
  purged_bytes_ += size;
  return true;
}

void failing_page_source::refuse_maps_above(std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  map_bytes_max_ = bytes;
  failed_ = false;
}

void failing_page_source::refuse_purge(bool refuse) noexcept {
  const std::lock_guard lock(mutex_);
  refuse_purge_ = refuse;
}

bool failing_page_source::failed() const noexcept {
  const std::lock_guard lock(mutex_);
  return failed_;
}

std::size_t failing_page_source::mapping_count() const noexcept {
  const std::lock_guard lock(mutex_);
  return mapping_count_;
}

void failing_page_source::limit_mapped_bytes(std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  mapped_bytes_max_ = bytes;
}

std::size_t failing_page_source::mapped_bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return all_mapped_bytes();
}

// Under the lock.
std::size_t failing_page_source::all_mapped_bytes() const noexcept {
  std::size_t bytes = 0;
  for (std::size_t index = 0; index < mapping_count_; ++index) bytes += mappings_[index].size;
  return bytes;
}

std::uint64_t failing_page_source::map_calls() const noexcept {
  const std::lock_guard lock(mutex_);
  return map_calls_;
}

std::size_t failing_page_source::purged_bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return purged_bytes_;
}

void failing_page_source::expect_all_unmapped() const {
  EXPECT_EQ(mapping_count(), 0U);
  EXPECT_EQ(mapped_bytes(), 0U);
}

void failing_page_source::fail_maps(std::uint64_t first, std::uint64_t last) noexcept {
  const std::lock_guard lock(mutex_);
  fail_first_ = first == 0 ? 0 : map_calls_ + first;
  fail_last_ = first == 0 ? 0 : map_calls_ + last;
  failed_ = false;
}

}  // namespace slabbuf::support
