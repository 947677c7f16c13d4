// SPDX-License-Identifier: MIT
// What a program holds of the heap at one moment.
// Threads: any; a figure of the whole process.
// Lifetime: nothing is kept.
#pragma once

#include <malloc.h>

#include <cstddef>

namespace slabbuf::bench {

/// Bytes that were taken from glibc's heap and not given back, with what each allocation costs beside its bytes.
/// A pool's slabs are not in it. Without meaning where another malloc is preloaded or a sanitizer has its own.
inline std::size_t heap_bytes_held() {
  const struct ::mallinfo2 now = ::mallinfo2();
  return now.uordblks + now.hblkhd;
}

}  // namespace slabbuf::bench
