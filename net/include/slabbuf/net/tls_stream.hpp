// SPDX-License-Identifier: MIT
// A TLS connection over a socket that holds no block of memory while it is idle: OpenSSL without the four buffers of
// asio::ssl::stream, whose place it takes when a program changes this one type.
// Threads: as the socket: one read and one write (or one handshake, or one shutdown) may be under way at once, all of
// them on one strand or thread. Pools of any kind; with a local_pool, on its thread.
// Lifetime: context and pool must outlive the stream; stream and buffers must live until the handlers are called.
// It may be moved while nothing is under way.
//
//     idle           OpenSSL's state of the connection, and no more
//     reading        OpenSSL's record buffer, from readiness until the record has been decrypted
//     writing        OpenSSL's record buffer, one block with the records before that one, and one in which small
//                    parts are put together
//
// Whoever shares the budget of the pool with OpenSSL installs openssl_allocator.hpp.
#pragma once

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/async_read_until.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/detail/tls_actions.hpp>
#include <slabbuf/net/detail/tls_connection.hpp>
#include <slabbuf/net/detail/tls_op.hpp>
#include <slabbuf/net/detail/write_source.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer_chain.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <asio/async_result.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/stream_base.hpp>
#include <asio/ssl/verify_mode.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace slabbuf::net {

/// An AsyncReadStream and AsyncWriteStream. `NextLayer` is a stream socket of Asio with whatever executor, or a
/// reference to one that lives as long.
template <class NextLayer>
class tls_stream : public asio::ssl::stream_base {
 public:
  using next_layer_type = std::remove_reference_t<NextLayer>;
  using lowest_layer_type = typename next_layer_type::lowest_layer_type;
  using executor_type = typename next_layer_type::executor_type;
  using native_handle_type = SSL*;
  /// The token of the executor's choice: asio::use_awaitable_t<>::as_default_on_t<tcp::socket> below, for one.
  using default_token = asio::default_completion_token_t<executor_type>;

  /// Over `next_layer`, which it takes or refers to. Throws std::system_error (OpenSSL's category, or no_memory) when
  /// OpenSSL has no memory. The second form takes a reference to the context, the first relies on its owner.
  template <class Arg, buffer_pool Pool>
  tls_stream(Arg&& next_layer, asio::ssl::context& context, Pool& pool)
      : tls_stream(std::forward<Arg>(next_layer), context.native_handle(), pool) {}
  template <class Arg, buffer_pool Pool>
  tls_stream(Arg&& next_layer, SSL_CTX* context, Pool& pool)
      : next_layer_(std::forward<Arg>(next_layer)), connection_(context, pool.core()) {
    if (connection_.ssl() != nullptr) return;
    const auto code = static_cast<int>(::ERR_get_error());
    throw std::system_error(
        code != 0 ? asio::error_code(code, asio::error::get_ssl_category()) : asio::error_code(asio::error::no_memory),
        "tls_stream");
  }
  tls_stream(tls_stream&&) noexcept = default;
  tls_stream& operator=(tls_stream&&) noexcept = default;

  executor_type get_executor() noexcept { return next_layer_.get_executor(); }
  next_layer_type& next_layer() noexcept { return next_layer_; }
  const next_layer_type& next_layer() const noexcept { return next_layer_; }
  lowest_layer_type& lowest_layer() noexcept { return next_layer_.lowest_layer(); }
  const lowest_layer_type& lowest_layer() const noexcept { return next_layer_.lowest_layer(); }

  /// OpenSSL's connection: for names, certificates, sessions and whatever this class has no member for. Not for
  /// reading, writing or its BIO.
  native_handle_type native_handle() noexcept { return connection_.ssl(); }

  /// Whether the peer's certificate is asked for, and must be there: as of asio::ssl::context, for this one.
  void set_verify_mode(asio::ssl::verify_mode mode) noexcept {
    ::SSL_set_verify(native_handle(), mode, ::SSL_get_verify_callback(native_handle()));
  }

  void set_verify_mode(asio::ssl::verify_mode mode, asio::error_code& ec) noexcept {
    set_verify_mode(mode);
    ec.clear();  // it cannot fail
  }

  /// How many certificates above the peer's own may lie between it and one that is trusted.
  void set_verify_depth(int depth) noexcept { ::SSL_set_verify_depth(native_handle(), depth); }
  void set_verify_depth(int depth, asio::error_code& ec) noexcept {
    set_verify_depth(depth);
    ec.clear();  // it cannot fail
  }

  /// Bytes in blocks of the pool at this moment: 0 unless a write is under way, or the socket has no room for what a
  /// handshake, a read (which may have to answer) or a shutdown sends.
  std::size_t held_bytes() const noexcept { return connection_.held_bytes(); }

  /// Shakes hands. Completes with (error_code): no error; stream_truncated, when the peer has closed the connection;
  /// eof, when it said so before; operation_aborted when cancelled or closed; an error of the socket, or of OpenSSL
  /// (its category), of which the peer has been told by an alert. A server waits for the first bytes of its client
  /// without holding anything.
  template <class Token = default_token>
  auto async_handshake(handshake_type type, Token&& token = Token()) {
    return initiate<void(asio::error_code)>(detail::tls_handshake_action(type == server), std::forward<Token>(token));
  }

  /// Decrypts some bytes into `buffers`. Completes with (error_code, size_t): no error and at least one byte, from
  /// one record or several; eof after the peer's close_notify; stream_truncated when the connection ends without;
  /// operation_aborted; unexpected_result when the peer sends nothing but protocol messages, 256 KiB of them; or
  /// another error of the socket or of OpenSSL. A cancelled read has taken nothing. What ends the input, an error or
  /// not, is what every later read completes with.
  template <class MutableBufferSequence, class Token = default_token>
  auto async_read_some(const MutableBufferSequence& buffers, Token&& token = Token()) {
    return initiate<void(asio::error_code, std::size_t)>(detail::tls_read_action<MutableBufferSequence>(buffers),
                                                         std::forward<Token>(token));
  }

  /// Encrypts and sends some of `buffers`, at most 128 KiB and 64 buffers. Completes with (error_code, size_t): no
  /// error and how many bytes, all of which the socket has taken; else 0. A write that fails or is cancelled may have
  /// sent a part of a record: after that, writes and shutdowns complete with broken_pipe, while reads go on.
  template <class ConstBufferSequence, class Token = default_token>
  auto async_write_some(const ConstBufferSequence& buffers, Token&& token = Token()) {
    return initiate<void(asio::error_code, std::size_t)>(detail::tls_write_action<ConstBufferSequence>(buffers),
                                                         std::forward<Token>(token));
  }

  /// Sends close_notify and waits for the peer's, with no other operation under way. Completes with (error_code): no
  /// error; stream_truncated when the peer closes without; an error of OpenSSL when it sends data instead. Whoever
  /// does not want to wait cancels it.
  template <class Token = default_token>
  auto async_shutdown(Token&& token = Token()) {
    return initiate<void(asio::error_code)>(detail::tls_shutdown_action(), std::forward<Token>(token));
  }

  /// For the operations below: starts one with an action of its own.
  template <class Signature, class Action, class Token>
  auto initiate(Action&& action, Token&& token) {
    return asio::async_initiate<Token, Signature>(detail::initiate_tls<next_layer_type>{&next_layer_, &connection_},
                                                  token, std::forward<Action>(action));
  }

 private:
  NextLayer next_layer_;
  detail::tls_connection<executor_type> connection_;
};

/// As async_read_some() of a socket: completes with (error_code, buffer), the block being taken only when ciphertext is
/// there, and decrypted into: read_bytes_default unless told otherwise, a whole record, because OpenSSL would keep its
/// buffer for the rest; few bytes then move to a block that fits. no_buffer_space: the budget has no room, or others
/// wait for it; the bytes stay in the socket or with OpenSSL, and a later call gets them. Other errors as
/// tls_stream::async_read_some(). Every block that decrypted bytes were in is cleared when it goes back, whatever the
/// pool's policy.
template <class NextLayer, buffer_pool Pool, class Token>
auto async_read_some(tls_stream<NextLayer>& stream, Pool& pool, Token&& token) {
  return stream.template initiate<void(asio::error_code, buffer)>(
      detail::tls_read_block_action<Pool>(pool, detail::read_limit::fitting()), std::forward<Token>(token));
}
template <class NextLayer, buffer_pool Pool, class Token>
auto async_read_some(tls_stream<NextLayer>& stream, Pool& pool, Token&& token, std::size_t bytes_max) {
  return stream.template initiate<void(asio::error_code, buffer)>(
      detail::tls_read_block_action<Pool>(pool, detail::read_limit(std::max<std::size_t>(bytes_max, 1))),
      std::forward<Token>(token));
}
template <class NextLayer, buffer_pool Pool, class Token>
auto async_read_some(tls_stream<NextLayer>& stream, Pool& pool, Token&& token, read_size& size) {
  return stream.template initiate<void(asio::error_code, buffer)>(
      detail::tls_read_block_action<Pool>(pool, detail::read_limit(size)), std::forward<Token>(token));
}

/// As async_write() to a socket: all bytes of what is given away, whose blocks go back as soon as they are encrypted
/// and sent. The bytes it counts when it fails are those of steps that were sent as a whole.
template <class NextLayer, class Token>
auto async_write(tls_stream<NextLayer>& stream, buffer data, Token&& token) {
  return stream.template initiate<void(asio::error_code, std::size_t)>(
      detail::tls_write_all_action(detail::buffer_source(std::move(data))), std::forward<Token>(token));
}
template <class NextLayer, class Token>
auto async_write(tls_stream<NextLayer>& stream, shared_slice data, Token&& token) {
  return stream.template initiate<void(asio::error_code, std::size_t)>(
      detail::tls_write_all_action(detail::slice_source(std::move(data))), std::forward<Token>(token));
}
template <class NextLayer, class Token>
auto async_write(tls_stream<NextLayer>& stream, buffer_chain data, Token&& token) {
  return stream.template initiate<void(asio::error_code, std::size_t)>(
      detail::tls_write_all_action(detail::chain_source(std::move(data))), std::forward<Token>(token));
}

/// As of a socket: reads into the chain until it has `count` bytes, or contains `delimiter`.
template <class NextLayer, buffer_pool Pool, class Token>
auto async_read_exactly(tls_stream<NextLayer>& stream, buffer_chain& chain, Pool& pool, std::size_t count,
                        Token&& token) {
  return asio::async_compose<Token, void(asio::error_code, std::size_t)>(
      detail::fill_chain_op<tls_stream<NextLayer>, Pool, detail::has_bytes>(stream, pool, chain, SIZE_MAX, {count}),
      token, stream);
}
template <class NextLayer, buffer_pool Pool, class Token>
auto async_read_until(tls_stream<NextLayer>& stream, buffer_chain& chain, Pool& pool, std::string_view delimiter,
                      Token&& token, std::size_t bytes_max = message_bytes_default) {
  return asio::async_compose<Token, void(asio::error_code, std::size_t)>(
      detail::fill_chain_op<tls_stream<NextLayer>, Pool, detail::has_delimiter>(stream, pool, chain, bytes_max,
                                                                                detail::has_delimiter(delimiter)),
      token, stream);
}

}  // namespace slabbuf::net
