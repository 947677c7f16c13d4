// SPDX-License-Identifier: MIT
#include <slabbuf/pool/buffer.hpp>

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace slabbuf {

std::size_t buffer::oversize_capacity() const noexcept {
  return std::min(detail::page_map::find(data_)->span_bytes, buffer_bytes_max);
}

void buffer::throw_beyond(const char* what, std::size_t asked, std::size_t limit) {
  throw std::out_of_range("slabbuf::buffer::" + std::string(what) + ": " + std::to_string(asked) + " bytes of " +
                          std::to_string(limit));
}

}  // namespace slabbuf
