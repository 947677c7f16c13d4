// SPDX-License-Identifier: MIT
// Chains of a given shape, and what they say.
// Threads: as the pool.
// Lifetime: as any chain, of the pool.
#pragma once

#include <slabbuf/pool/pool.hpp>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace slabbuf::support {

/// A buffer that says `text`.
template <class Pool>
buffer buffer_of(Pool& pool, std::string_view text) {
  buffer made = pool.acquire(text.size());
  if (!text.empty()) std::memcpy(made.data(), text.data(), text.size());
  return made;
}

/// `blocks` blocks of up to `bytes_max` bytes each, the shortest of a third, every other in the middle of its block;
/// what they say is in `text`.
template <class Pool>
buffer_chain chain_of_blocks(Pool& pool, std::size_t blocks, std::size_t bytes_max, std::string& text) {
  buffer_chain chain;
  text.clear();
  for (std::size_t index = 0; index < blocks; ++index) {
    const std::string letters(bytes_max * (index % 3 + 1) / 3, static_cast<char>('a' + index % 26));
    if (index % 2 == 0) {
      chain.append(buffer_of(pool, letters));
    } else {
      shared_slice slice(buffer_of(pool, "#" + letters + "#"));
      slice.trim_front(1);
      slice.trim(letters.size());
      chain.append(std::move(slice));
    }
    text += letters;
  }
  return chain;
}

inline std::string text_of(const buffer_chain& chain) {
  std::string text;
  for (const std::span<const std::byte> each : chain.spans())
    text.append(reinterpret_cast<const char*>(each.data()), each.size());
  return text;
}

}  // namespace slabbuf::support
