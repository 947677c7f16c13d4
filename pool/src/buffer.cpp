// SPDX-License-Identifier: MIT
#include <slabbuf/pool/buffer.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <algorithm>

namespace slabbuf {

std::size_t buffer::oversize_capacity() const noexcept {
  return std::min(detail::page_map::find(data_)->span_bytes, buffer_bytes_max);
}

detail::block_part buffer::part() const noexcept {
  const std::size_t bytes = capacity();
  // Nobody can commit() any more what prepare() gave: it stays written.
  const bool unknown = (written_ & detail::pool_core::written_unknown) != 0;
  return {.block = data_,
          .home = home_,
          .offset = 0,
          .length = size_,
          .written = unknown ? static_cast<std::uint32_t>(bytes) : written_,
          .capacity = static_cast<std::uint32_t>(bytes)};
}

}  // namespace slabbuf
