// SPDX-License-Identifier: MIT
// What the operations of a TLS stream do in a step: shake hands, read, write, shut down.
// Threads: as the operation.
// Lifetime: part of a tls_op, and moves with it.
#pragma once

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/detail/buffer_parts.hpp>
#include <slabbuf/net/detail/tls_engine.hpp>
#include <slabbuf/net/detail/tls_op.hpp>
#include <slabbuf/net/detail/write_source.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <sys/uio.h>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/error.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace slabbuf::net::detail {

/// What takes nothing from the connection before it completes.
struct tls_receiving_action {
  static auto cancellation_filter() noexcept { return asio::enable_total_cancellation(); }
  static constexpr tls_side side = tls_side::receiving;
  static void give_up(const tls_engine&) noexcept {}
};

/// What may have sent a part of something.
struct tls_sending_action {
  static auto cancellation_filter() noexcept { return asio::enable_partial_cancellation(); }
  static constexpr tls_side side = tls_side::sending;
  static tls_want begin(tls_engine& engine) noexcept {
    engine.begin_write();
    return tls_want::nothing;
  }
  static void give_up(tls_engine& engine) noexcept { engine.abandon_write(); }
};

class tls_handshake_action : public tls_sending_action {
 public:
  explicit tls_handshake_action(bool is_server) noexcept : is_server_(is_server) {}

  /// A server holds nothing until the client has sent something.
  tls_want begin(const tls_engine& engine) const noexcept {
    return is_server_ && engine.awaits_client() ? tls_want::read : tls_want::nothing;
  }
  tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) const {
    return want_of(engine.handshake(descriptor, is_server_), ec);
  }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) const {
    complete(ec);
  }

 private:
  bool is_server_;
};

class tls_shutdown_action : public tls_sending_action {
 public:
  static tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) {
    const tls_want next = want_of(engine.shutdown(descriptor), ec);
    if (ec == asio::error::eof) ec.clear();  // the peer's close_notify is what was waited for
    return next;
  }
  template <class Complete>
  static void complete(const asio::error_code& ec, Complete&& complete) {
    complete(ec);
  }
};

/// Reads into the caller's buffers.
template <class Buffers>
class tls_read_action : public tls_receiving_action {
 public:
  explicit tls_read_action(const Buffers& buffers) : buffers_(buffers) {}

  tls_want begin(const tls_engine& engine) const {
    return engine.may_read_now() || asio::buffer_size(buffers_) == 0 ? tls_want::nothing : tls_want::read;
  }
  tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) {
    ::iovec parts[gather_max];
    const std::size_t count = parts_of<asio::mutable_buffer>(buffers_, parts);
    return count != 0 ? want_of(engine.read(descriptor, {parts, count}, bytes_), ec) : tls_want::nothing;
  }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) const {
    complete(ec, bytes_);
  }

 private:
  Buffers buffers_;
  std::size_t bytes_ = 0;
};

/// Reads into a block that is taken when there is ciphertext.
template <class Pool>
class tls_read_block_action : public tls_receiving_action {
 public:
  tls_read_block_action(Pool& pool, read_limit limit) noexcept : pool_(&pool), limit_(limit) {}

  static tls_want begin(const tls_engine& engine) noexcept {
    return engine.may_read_now() ? tls_want::nothing : tls_want::read;
  }
  tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) {
    received_ = acquire_to_read(*pool_, limit_);
    if (!received_) {
      // Only plaintext needs a block: whoever waits for the rest of a record waits holding nothing.
      const tls_want next = want_of(engine.peek(descriptor), ec);
      if (next == tls_want::nothing && !ec) ec = asio::error::no_buffer_space;
      return next;
    }
    received_.clear_on_release();
    const std::size_t offered = received_.size();
    const ::iovec part{received_.prepare().data(), offered};
    std::size_t bytes = 0;
    const tls_want next = want_of(engine.read(descriptor, {&part, 1}, bytes), ec);
    received_.commit(bytes);
    if (bytes == 0) {
      received_.release();
    } else {
      limit_.note(bytes, offered);
      if (limit_.fits_after()) fit(*pool_, received_, bytes);
    }
    return next;
  }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) {
    complete(ec, std::move(received_));
  }

 private:
  Pool* pool_;
  read_limit limit_;
  buffer received_;
};

/// Writes some of the caller's buffers.
template <class Buffers>
class tls_write_action : public tls_sending_action {
 public:
  explicit tls_write_action(const Buffers& buffers) : buffers_(buffers) {}

  tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) {
    ::iovec parts[gather_max];
    const std::size_t count = parts_of<asio::const_buffer>(buffers_, parts);
    return count != 0 ? want_of(engine.write(descriptor, {parts, count}, taken_), ec) : tls_want::nothing;
  }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) const {
    complete(ec, ec ? 0 : taken_);
  }

 private:
  Buffers buffers_;
  std::size_t taken_ = 0;
};

/// Writes all of what it owns.
template <class Source>
class tls_write_all_action : public tls_sending_action {
 public:
  explicit tls_write_all_action(Source&& data) noexcept : data_(std::move(data)) {}

  tls_want step(tls_engine& engine, int descriptor, asio::error_code& ec) {
    for (std::size_t step_bytes = 0; !data_.empty();) {
      ::iovec parts[gather_max];
      const std::size_t count = data_.gather(parts, tls_step_bytes_max);
      const tls_want next = want_of(engine.write(descriptor, {parts, count}, taken_), ec);
      if (next != tls_want::nothing) return next;
      if (ec) break;
      data_.consume(taken_);
      sent_bytes_ += taken_;
      step_bytes += std::exchange(taken_, 0);
      // Others have their turn.
      if (step_bytes >= tls_write_bytes_per_turn && !data_.empty()) return tls_want::write;
    }
    data_.release();
    return tls_want::nothing;
  }
  void give_up(tls_engine& engine) noexcept {
    engine.abandon_write();
    data_.release();
  }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) const {
    complete(ec, sent_bytes_);
  }

 private:
  // About as long as write_bytes_per_step takes without encryption.
  static constexpr std::size_t tls_write_bytes_per_turn = std::size_t{512} << 10;

  Source data_;
  std::size_t taken_ = 0;  // of what gather() gives, by the engine
  std::size_t sent_bytes_ = 0;
};

}  // namespace slabbuf::net::detail
