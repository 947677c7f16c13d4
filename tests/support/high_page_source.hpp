// SPDX-License-Identifier: MIT
// A page source whose memory lies where no the page map can find it. Nobody may touch that memory, so
// there is none.
#pragma once

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/page_source.hpp>

#include <cstddef>

namespace slabbuf::support {

class high_page_source final : public page_source {
 public:
  void* map(std::size_t, std::size_t) noexcept override {
    ++mapping_count;
    return reinterpret_cast<void*>(detail::page_map::address_end);
  }
  void unmap(void*, std::size_t) noexcept override { --mapping_count; }
  bool purge(void*, std::size_t) noexcept override { return false; }

  int mapping_count = 0;
};

}  // namespace slabbuf::support
