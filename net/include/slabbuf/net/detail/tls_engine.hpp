// SPDX-License-Identifier: MIT
// One TLS connection between two waits: OpenSSL over a non-blocking descriptor. Knows nothing of Asio.
// Threads: one call at a time.
// Lifetime: the pool must outlive it. Moves only while nothing is under way.
//
//     descriptor --recv--> OpenSSL's read buffer --decrypt--> caller's block
//     descriptor <--send-- OpenSSL's write buffer <--encrypt-- caller's bytes      the last record of a step
//                <-sendmsg- [gathered records | write buffer]                      those before it, 64 KiB and more
//
// Ciphertext is received straight into OpenSSL's record buffer, which exists only while a record is in it
// (SSL_MODE_RELEASE_BUFFERS), and sent straight from there; only records that others follow are copied, into one
// block of the pool, which goes back when the socket has taken them. So nothing is held while idle, and at most
// tls_gather_bytes_max and a record while the peer does not read.
//
// Order: whatever OpenSSL writes passes through send_behind(), behind what was gathered before. Nothing is taken
// from OpenSSL that is neither sent nor kept.
#pragma once

#include <slabbuf/pool/detail/block_owner.hpp>
#include <slabbuf/pool/detail/pool_core.hpp>

#include <openssl/ssl.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace slabbuf::net::detail {

/// Plaintext bytes of the largest record.
inline constexpr std::size_t tls_record_bytes_max = 16384;
/// Most plaintext bytes one step encrypts before it sends.
inline constexpr std::size_t tls_step_bytes_max = std::size_t{128} << 10;
/// Most ciphertext bytes kept beside OpenSSL's record buffer.
inline constexpr std::size_t tls_gather_bytes_max = std::size_t{128} << 10;
/// Ciphertext bytes one step receives at most: a peer that sends faster than we decrypt does not keep the thread.
inline constexpr std::size_t tls_receive_bytes_max = std::size_t{256} << 10;
/// Ciphertext bytes without one byte of plaintext that are accepted after the handshake: key updates and the like.
inline constexpr std::size_t tls_barren_bytes_max = std::size_t{256} << 10;

enum class tls_status : std::uint8_t {
  done,
  want_read,      // as soon as the descriptor is readable, the same call again
  want_write,     // the same, writable
  end_of_stream,  // the peer has sent close_notify
  truncated,      // the peer has closed the connection without
  system,         // code: errno
  openssl,        // code: as of ERR_get_error()
  unspecified,    // OpenSSL says that the system failed, and not how
  unexpected,  // OpenSSL asks for what nobody gave it (an asynchronous callback), or the peer sends nothing but noise
};

struct tls_result {
  tls_status status = tls_status::done;
  std::uint32_t code = 0;
};

class tls_engine {
 public:
  /// ssl() is null when OpenSSL could not, and its error queue says why. Takes a reference to the context.
  tls_engine(SSL_CTX* context, slabbuf::detail::pool_core& pool) noexcept;
  tls_engine(tls_engine&& other) noexcept;
  tls_engine& operator=(tls_engine&& other) noexcept;
  ~tls_engine();

  SSL* ssl() const noexcept { return ssl_; }

  /// Whether a read has something to do or to say without waiting for the descriptor.
  bool may_read_now() const noexcept {
    return input_over_ || asks_first_ || owes_ || deferred_.status != tls_status::done || SSL_has_pending(ssl_) != 0;
  }

  /// Whether a server's handshake has nothing to do before its client has sent something.
  bool awaits_client() const noexcept { return SSL_in_before(ssl_) != 0 && SSL_has_pending(ssl_) == 0; }

  /// Whether the steps to come receive, or make do with what has been received.
  void let_receive(bool may) noexcept { may_receive_ = may; }

  /// One step each, none of which waits. After want_read or want_write, the same again with the same arguments.
  tls_result handshake(int descriptor, bool is_server) noexcept;

  /// Decrypts what is there into `parts`, in order, as far as they go. `bytes` is what that made: at least 1 when done,
  /// unless the parts have no room; 0 otherwise.
  tls_result read(int descriptor, std::span<const ::iovec> parts, std::size_t& bytes) noexcept;

  /// done when a read would make a byte, without a wait; otherwise what the read would have said.
  tls_result peek(int descriptor) noexcept;

  /// Encrypts `parts` from `taken` on, at most tls_step_bytes_max, and sends. `taken` grows by what was encrypted; done
  /// when all of that has been sent. Start with 0.
  tls_result write(int descriptor, std::span<const ::iovec> parts, std::size_t& taken) noexcept;

  /// Before the first step of a write or a shutdown. Abandons a write that has neither ended nor gone on: it died for
  /// want of memory to wait with, and OpenSSL has a record of it, which no other write may take for its own.
  void begin_write() noexcept {
    if (retry_bytes_ != 0) abandon_write();
  }

  /// Sends close_notify, and receives the peer's: then done, or end_of_stream.
  tls_result shutdown(int descriptor) noexcept;

  /// A write ended before it was done. What was not sent is lost, and with it the connection: handshakes, writes and
  /// shutdowns fail from now on, and what a read has to send goes nowhere. Does nothing when all was sent.
  void abandon_write() noexcept;

  /// Bytes in blocks of the pool.
  std::size_t held_bytes() const noexcept { return gathered_.capacity + staged_.capacity; }

 private:
  struct bio;
  class step;                   // apart, because an idle connection needs none of it: tls_bio.hpp
  friend struct tls_bio_calls;  // what OpenSSL calls

  tls_result result_of(const step& now, int returned) noexcept;
  tls_result ending_with(const tls_result& result) noexcept;
  void send_owed(step& now) noexcept;
  void begin_anew() noexcept;
  tls_result end_of_read(const step& now, int returned) noexcept;
  bool take_deferred(tls_result& result) noexcept;
  tls_result flush(step& now) noexcept;
  std::span<const std::byte> next_record(std::span<const ::iovec> parts, std::size_t position) noexcept;
  bool keep(const step& now, const std::byte* from, std::size_t count) noexcept;
  std::size_t send_behind(step& now, const std::byte* from, std::size_t count) noexcept;
  void drop(slabbuf::detail::block_part& block) noexcept;

  int receive(step& now, std::byte* into, std::size_t count) noexcept;
  int transmit(step& now, const std::byte* from, std::size_t count) noexcept;

  SSL* ssl_;
  slabbuf::detail::pool_core* pool_;
  slabbuf::detail::block_part gathered_{};  // ciphertext to be sent before anything else
  slabbuf::detail::block_part staged_{};    // plaintext of one record, from several small parts
  tls_result deferred_;             // what a read that brought bytes met after them; for ever, if it ends the input
  std::uint32_t barren_bytes_ = 0;  // received since there was plaintext
  std::uint32_t retry_bytes_ = 0;   // plaintext of the record that OpenSSL has taken and not yet sent
  bool abandoned_ = false;          // see abandon_write()
  bool input_over_ = false;         // nothing more will come: a read need not wait for it
  bool asks_first_ = true;          // no handshake yet, or OpenSSL failed in one: a read asks it before it waits
  bool owes_ = false;               // what is gathered is what a read had to send
  bool may_receive_ = true;
};

}  // namespace slabbuf::net::detail
