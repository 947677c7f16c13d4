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

/// How many connections a server may have of those it is asked for, where the system allows so many descriptors: `own`
/// are the server's, and the last ones, `reserved` and at most half of the rest, are for whatever connections ask it to
/// open. One at least. Where that is fewer, the log says so.
std::size_t connections_within(std::size_t descriptors, std::size_t own, std::size_t reserved, std::size_t asked_for);

}  // namespace slabbuf::examples
