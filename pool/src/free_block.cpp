// SPDX-License-Identifier: MIT
#include <slabbuf/pool/detail/free_block.hpp>

namespace slabbuf::detail {

void free_block::clear_extent(std::size_t class_size) const noexcept {
  const std::size_t extent = units() == units_whole ? class_size : units() * unit_bytes;
  std::memset(data(), 0, extent < class_size ? extent : class_size);
}

}  // namespace slabbuf::detail
