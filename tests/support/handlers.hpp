// SPDX-License-Identifier: MIT
// Handlers of one type for all places. A lambda in each place would do the same, and all of the operation would be
// compiled for each of them: tls_model_test alone took 128 s to build, and takes 49.
// Threads: as the operation.
// Lifetime: what a handler notes something in must live until it is called.
#pragma once

#include <slabbuf/pool/buffer.hpp>

#include <asio/error_code.hpp>

#include <cstddef>
#include <functional>
#include <optional>

namespace slabbuf::support {

using on_end = std::function<void(asio::error_code)>;
using on_bytes = std::function<void(asio::error_code, std::size_t)>;
using on_block = std::function<void(asio::error_code, buffer)>;

/// Notes how its operation ended, and how many bytes it moved if somebody wants to know.
struct noting {
  explicit noting(std::optional<asio::error_code>& end) : ended(&end) {}
  void operator()(asio::error_code ec) const { *ended = ec; }
  void operator()(asio::error_code ec, std::size_t bytes) const {
    if (count != nullptr) *count = bytes;
    *ended = ec;
  }
  std::optional<asio::error_code>* ended;
  std::size_t* count = nullptr;
};

}  // namespace slabbuf::support
