// SPDX-License-Identifier: MIT
// Where a chain contains some bytes, however they are spread over its blocks.
// Threads: as the chain.
// Lifetime: nothing is kept.
#pragma once

#include <slabbuf/pool/buffer_chain.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace slabbuf::net::detail {

inline constexpr std::size_t npos = SIZE_MAX;

/// Whether the bytes from `offset` on in span `index` begin with `pattern`.
inline bool begins_with(buffer_chain::const_spans spans, std::size_t index, std::size_t offset,
                        std::string_view pattern) noexcept {
  while (!pattern.empty() && index < spans.size()) {
    const std::span<const std::byte> rest = spans[index++].subspan(offset);
    const std::size_t count = rest.size() < pattern.size() ? rest.size() : pattern.size();
    if (std::memcmp(rest.data(), pattern.data(), count) != 0) return false;
    pattern.remove_prefix(count);
    offset = 0;
  }
  return pattern.empty();
}

/// Position of the first `pattern` that begins at `from` or behind it; npos when there is none. An empty one is
/// found at once.
inline std::size_t find(const buffer_chain& chain, std::string_view pattern, std::size_t from) noexcept {
  if (pattern.empty()) return from <= chain.size() ? from : npos;
  const buffer_chain::const_spans spans = chain.spans();
  std::size_t before = 0;  // bytes in the spans before this one
  for (std::size_t index = 0; index < spans.size(); before += spans[index++].size()) {
    const std::span<const std::byte> bytes = spans[index];
    std::size_t offset = from > before ? from - before : 0;
    while (offset < bytes.size()) {
      const void* const at = std::memchr(bytes.data() + offset, pattern.front(), bytes.size() - offset);
      if (at == nullptr) break;
      offset = static_cast<std::size_t>(static_cast<const std::byte*>(at) - bytes.data());
      if (begins_with(spans, index, offset, pattern)) return before + offset;
      ++offset;
    }
  }
  return npos;
}

}  // namespace slabbuf::net::detail
