// SPDX-License-Identifier: MIT
// A buffer sequence as the parts of one system call.
// Threads: any.
// Lifetime: nothing is kept; the parts are the caller's memory.
#pragma once

#include <slabbuf/net/detail/write_source.hpp>

#include <sys/uio.h>
#include <asio/buffer.hpp>

#include <cstddef>

namespace slabbuf::net::detail {

/// The parts of a buffer sequence, as many as one step looks at. Returns how many.
template <class Buffer, class Buffers>
std::size_t parts_of(const Buffers& buffers, ::iovec (&parts)[gather_max]) {
  std::size_t count = 0;
  const auto end = asio::buffer_sequence_end(buffers);
  for (auto each = asio::buffer_sequence_begin(buffers); each != end && count != gather_max; ++each) {
    const Buffer one(*each);
    // The system's type knows no const; sending changes nothing.
    if (one.size() != 0) parts[count++] = {const_cast<void*>(static_cast<const void*>(one.data())), one.size()};
  }
  return count;
}

}  // namespace slabbuf::net::detail
