// SPDX-License-Identifier: MIT
// How far a peer has come with what was sent to it.
// Threads: any.
#pragma once

#include <cstdint>

namespace slabbuf::examples {

/// Bytes that the peer of a TCP connection has acknowledged, ever. 0 where the system does not know. A system call.
std::uint64_t acknowledged_bytes(int socket) noexcept;

}  // namespace slabbuf::examples
