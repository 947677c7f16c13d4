// SPDX-License-Identifier: MIT
// How many files and sockets the process may have open.
// Threads: any.
// Lifetime: a setting of the process.
#pragma once

#include <cstddef>

namespace slabbuf::examples {

/// Raises the soft limit of open descriptors to the hard one and returns it. The soft limit is low
/// for the sake of select(), which nothing here uses.
std::size_t raise_descriptor_limit() noexcept;

}  // namespace slabbuf::examples
