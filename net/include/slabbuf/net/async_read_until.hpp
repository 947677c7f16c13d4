// SPDX-License-Identifier: MIT
// Message framing in place: reads into a chain until it has so many bytes, or a delimiter.
// Threads: as the socket: one read at a time.
// Lifetime: socket, chain and pool must live until the handler is called. Bytes stay in the chain; the caller takes a
// message out by consume() or split(), and what came with it is there for the next call.
//
// They stay in the blocks they were received in, but for few bytes: these are put where the block before has room, or
// into one as large as all that is there already. So a peer that sends byte by byte has not a block for each, and a
// message takes twice its bytes and a block of the pool at most, in a chain that began empty and that nobody shares.
//
// As async_read_some, these hold no block while the peer is silent. asio::async_read_until on a dynamic_chain does the
// same with a block in hand, and throws where the budget has no room.
#pragma once

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/detail/chain_search.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/pool/buffer_chain.hpp>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

namespace slabbuf::net {

/// Most bytes a message may have unless told otherwise.
inline constexpr std::size_t message_bytes_default = std::size_t{1} << 20;

namespace detail {

/// Reads until `complete` says how many bytes the message has. It is asked whenever bytes came, and first of all.
template <class Socket, class Pool, class Complete>
class fill_chain_op {
 public:
  fill_chain_op(Socket& socket, Pool& pool, buffer_chain& chain, std::size_t bytes_max, Complete complete)
      : socket_(&socket), pool_(&pool), chain_(&chain), bytes_max_(bytes_max), complete_(complete) {}

  /// Begins.
  template <class Self>
  void operator()(Self& self) {
    if (done()) {
      // A read of nothing completes without a system call: the handler must not run within the call.
      Socket& socket = *socket_;
      socket.async_read_some(asio::mutable_buffer(), std::move(self));
    } else {
      read(self);
    }
  }

  template <class Self>
  void operator()(Self& self, asio::error_code, std::size_t) {
    self.complete(ec_, message_bytes_);
  }

  template <class Self>
  void operator()(Self& self, asio::error_code ec, buffer received) {
    ec_ = ec;
    if (!ec) {
      try {
        keep(std::move(received));
      } catch (const std::bad_alloc&) {
        ec_ = asio::error::no_memory;
      }
      if (!ec_ && !done()) return read(self);
    }
    self.complete(ec_, message_bytes_);
  }

 private:
  bool done() {
    message_bytes_ = complete_(*chain_);
    if (message_bytes_ == 0 && chain_->size() >= bytes_max_) ec_ = asio::error::not_found;
    return ec_ || message_bytes_ != 0 || complete_.wants_nothing();
  }

  void keep(buffer received) {
    const auto pieces = chain_->pieces();
    // Where nobody else owns the last block, and it is cleared in the end if this one is.
    if (!pieces.empty() && pieces.back().is_alone() && pieces.back().room().size() >= received.size() &&
        (pieces.back().clears_on_release() || !received.clears_on_release())) {
      chain_->append_copy(*pool_, {std::as_const(received).data(), received.size()});
    } else {
      fit(*pool_, received, std::max({received.size(), chain_->size(), read_bytes_least}));
      chain_->append(std::move(received));
    }
  }

  template <class Self>
  void read(Self& self) {
    Socket& socket = *socket_;
    Pool& pool = *pool_;
    async_read_some(socket, pool, std::move(self), read_bytes_default);
  }

  Socket* socket_;
  Pool* pool_;
  buffer_chain* chain_;
  std::size_t bytes_max_;
  Complete complete_;
  std::size_t message_bytes_ = 0;
  asio::error_code ec_;
};

struct has_bytes {
  std::size_t count;
  std::size_t operator()(const buffer_chain& chain) const noexcept { return chain.size() >= count ? count : 0; }
  bool wants_nothing() const noexcept { return count == 0; }
};

class has_delimiter {
 public:
  explicit has_delimiter(std::string_view delimiter) noexcept : delimiter_(delimiter) {}
  // Looks only at what it has not seen, and at what may be the beginning of a delimiter.
  std::size_t operator()(const buffer_chain& chain) noexcept {
    const std::size_t found = find(chain, delimiter_, searched_);
    if (found != npos) return found + delimiter_.size();
    searched_ = chain.size() < delimiter_.size() ? 0 : chain.size() - delimiter_.size() + 1;
    return 0;
  }
  bool wants_nothing() const noexcept { return delimiter_.empty(); }

 private:
  std::string_view delimiter_;
  std::size_t searched_ = 0;
};

}  // namespace detail

/// Reads until the chain has at least `count` bytes. Completes with (error_code, size_t): no error and `count`; or
/// the error as of async_read_some, among them eof and no_buffer_space, and 0; no_memory when there is none for the
/// chain. What was read is in the chain in any case. `count` may be 0.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_exactly(Socket& socket, buffer_chain& chain, Pool& pool, std::size_t count, Token&& token) {
  return asio::async_compose<Token, void(asio::error_code, std::size_t)>(
      detail::fill_chain_op<detail::plain_socket_t<Socket>, Pool, detail::has_bytes>(socket, pool, chain, SIZE_MAX,
                                                                                     {count}),
      token, socket);
}

/// Reads until the chain contains `delimiter`, which must live until the handler is called. Completes with
/// (error_code, size_t): no error and the number of bytes up to and including the first one; not_found when there is
/// none in the first `bytes_max` bytes or more that came; else as async_read_exactly(). An empty delimiter is found
/// at once, with 0.
template <detail::stream_socket Socket, buffer_pool Pool, class Token>
auto async_read_until(Socket& socket, buffer_chain& chain, Pool& pool, std::string_view delimiter, Token&& token,
                      std::size_t bytes_max = message_bytes_default) {
  return asio::async_compose<Token, void(asio::error_code, std::size_t)>(
      detail::fill_chain_op<detail::plain_socket_t<Socket>, Pool, detail::has_delimiter>(
          socket, pool, chain, bytes_max, detail::has_delimiter(delimiter)),
      token, socket);
}

}  // namespace slabbuf::net
