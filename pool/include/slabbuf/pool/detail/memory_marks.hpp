// SPDX-License-Identifier: MIT
// What the pool tells AddressSanitizer and Valgrind's memcheck: which bytes belong to nobody.
// Threads: any.
// Lifetime: a mark stays until the next one; before memory goes back to the system, it is marked
// readable, because whoever is given the address next knows nothing of it.
//
// Decided when the program runs, not when the library is compiled: AddressSanitizer's functions are
// weak references, memcheck is asked. Without either, every call here is one branch.
#pragma once

#include <cstddef>

namespace slabbuf::detail {

/// AddressSanitizer keeps one mark for so many bytes at such an address. What shares them with a
/// neighbour that another thread may mark at the same time cannot be marked.
inline constexpr std::size_t mark_granule_bytes = 8;

/// Whether the program runs under one of them: always the same answer.
bool memory_is_watched() noexcept;

/// Reading or writing any of these bytes is an error from here on.
void mark_unreadable(const void* begin, std::size_t bytes) noexcept;

/// The bytes may be read and written; memcheck takes them as initialised where `defined`.
void mark_readable(const void* begin, std::size_t bytes, bool defined) noexcept;

}  // namespace slabbuf::detail
