// SPDX-License-Identifier: MIT
// A buffer_chain as an Asio dynamic buffer: async_read_until, read_until, async_read and streambuf-like code fill it
// with blocks of a pool, and nothing is moved when it grows.
// Threads: as the chain and the pool.
// Lifetime: it refers to both, which must live as long as the operation that was given it; it owns nothing and may be
// copied.
//
// DynamicBuffer_v1 and DynamicBuffer_v2, as asio::dynamic_buffer(std::string&) is both.
#pragma once

#include <slabbuf/net/chain_view.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer_chain.hpp>

#include <asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace slabbuf::net {

template <class Pool>
class dynamic_chain {
 public:
  using const_buffers_type = const_chain_view;
  using mutable_buffers_type = chain_view;

  /// `chain` grows with blocks of `pool`, up to `bytes_max`.
  dynamic_chain(buffer_chain& chain, Pool& pool, std::size_t bytes_max = SIZE_MAX) noexcept
      : chain_(&chain), pool_(&pool), bytes_max_(bytes_max) {}

  std::size_t size() const noexcept { return chain_->size(); }
  std::size_t max_size() const noexcept { return bytes_max_; }

  /// Bytes there is room for without another block; what Asio reads at a time goes by it.
  std::size_t capacity() const noexcept {
    const auto pieces = chain_->pieces();
    const bool open = !pieces.empty() && pieces.back().is_alone();
    return std::min(bytes_max_, size() + (open ? pieces.back().room().size() : 0));
  }

  /// v1: the bytes.
  const_buffers_type data() const noexcept { return const_chain_view(*chain_); }

  /// v1: `count` bytes behind them. Throws std::length_error beyond max_size(), and as pool.acquire().
  mutable_buffers_type prepare(std::size_t count) {
    check(count);
    const auto room = chain_->prepare(*pool_, count);
    return {chain_view::of_room, room.pieces(), 0, count};
  }
  /// v1: the first `count` of what prepare() gave, or all of it, are part of the bytes.
  void commit(std::size_t count) { chain_->commit(std::min(count, chain_->prepared_bytes())); }

  /// v2: `count` of the bytes from `position` on, as many as there are.
  mutable_buffers_type data(std::size_t position, std::size_t count) noexcept {
    chain_->mark_written();
    position = std::min(position, size());
    return {chain_view::of_bytes, chain_->pieces(), position, std::min(count, size() - position)};
  }
  const_buffers_type data(std::size_t position, std::size_t count) const noexcept {
    position = std::min(position, size());
    return {const_chain_view::of_bytes, chain_->pieces(), position, std::min(count, size() - position)};
  }

  /// v2: `count` bytes more at the end. Throws as prepare().
  void grow(std::size_t count) {
    check(count);
    chain_->prepare(*pool_, count);
    chain_->commit(count);
  }
  /// v2: `count` bytes less at the end, or none left.
  void shrink(std::size_t count) { chain_->trim(size() - std::min(count, size())); }

  /// Both: `count` bytes less at the front, or none left. Their blocks go back.
  void consume(std::size_t count) { chain_->consume(std::min(count, size())); }

 private:
  void check(std::size_t count) const {
    if (size() > bytes_max_ || count > bytes_max_ - size())
      throw std::length_error("dynamic_chain: " + std::to_string(size()) + " bytes and " + std::to_string(count) +
                              " more of " + std::to_string(bytes_max_));
  }

  buffer_chain* chain_;
  Pool* pool_;
  std::size_t bytes_max_;
};

}  // namespace slabbuf::net
