// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/tls_engine.hpp>

#include <slabbuf/net/openssl_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tls_bio.hpp"

namespace slabbuf::net::detail {
namespace {

// No errno is negative.
constexpr int end_of_input = -1;

// Header, explicit nonce or inner type, tag: for every cipher of TLS 1.2 and 1.3 that is not CBC, and for those.
constexpr std::size_t record_overhead_bytes = 88;

// Parts smaller than this are put together, so that a record is worth its overhead.
constexpr std::size_t part_bytes_alone = 4096;

// A flight of a handshake, or an alert: what is kept without knowing how much more there will be.
constexpr std::size_t control_bytes_usual = 4096;

// All that OpenSSL's codes have.
std::uint32_t next_error() noexcept { return static_cast<std::uint32_t>(ERR_get_error()); }

// Before each call of OpenSSL that result_of() is asked about: what lies in the queue, left by a program's callback
// maybe, would be taken for its error. Looking is cheaper than clearing.
void forget_errors() noexcept {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

}  // namespace

tls_engine::tls_engine(SSL_CTX* context, slabbuf::detail::pool_core& pool) noexcept : ssl_(nullptr), pool_(&pool) {
  ERR_clear_error();
  if (bio::of_thread() == nullptr) return;
  ssl_ = SSL_new(context);
  if (ssl_ == nullptr) return;
  // Partial: a step ends where a record does. Moving: the caller's buffers may be views that are made anew.
  // Release: no record buffer without a record.
  SSL_set_mode(ssl_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_set_options(ssl_, SSL_OP_NO_RENEGOTIATION);
  // Header and record in one system call, and what follows with them.
  SSL_set_read_ahead(ssl_, 1);
}

tls_engine::tls_engine(tls_engine&& other) noexcept
    : ssl_(std::exchange(other.ssl_, nullptr)),
      pool_(other.pool_),
      gathered_(std::exchange(other.gathered_, {})),
      staged_(std::exchange(other.staged_, {})),
      deferred_(std::exchange(other.deferred_, {})),
      barren_bytes_(other.barren_bytes_),
      retry_bytes_(std::exchange(other.retry_bytes_, 0)),
      abandoned_(other.abandoned_),
      input_over_(other.input_over_),
      asks_first_(other.asks_first_),
      owes_(std::exchange(other.owes_, false)) {}

tls_engine& tls_engine::operator=(tls_engine&& other) noexcept {
  tls_engine moved(std::move(other));
  std::swap(ssl_, moved.ssl_);
  std::swap(pool_, moved.pool_);
  std::swap(gathered_, moved.gathered_);
  std::swap(staged_, moved.staged_);
  std::swap(deferred_, moved.deferred_);
  std::swap(barren_bytes_, moved.barren_bytes_);
  std::swap(retry_bytes_, moved.retry_bytes_);
  std::swap(abandoned_, moved.abandoned_);
  std::swap(input_over_, moved.input_over_);
  std::swap(asks_first_, moved.asks_first_);
  std::swap(owes_, moved.owes_);
  return *this;
}

tls_engine::~tls_engine() {
  SSL_free(ssl_);
  drop(gathered_);
  drop(staged_);
}

void tls_engine::drop(slabbuf::detail::block_part& block) noexcept {
  if (block.block == nullptr) return;
  block.release();
  block = {};
}

tls_result tls_engine::result_of(const step& now, int returned) noexcept {
  const int status = SSL_get_error(ssl_, returned);
  switch (status) {
    case SSL_ERROR_NONE: return {};
    case SSL_ERROR_ZERO_RETURN: return {tls_status::end_of_stream};
    case SSL_ERROR_WANT_READ:
      if (now.input_error == end_of_input) {
        const bool said_so = (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
        return {said_so ? tls_status::end_of_stream : tls_status::truncated};
      }
      if (now.input_error != 0) return {tls_status::system, static_cast<std::uint32_t>(now.input_error)};
      return {tls_status::want_read};
    case SSL_ERROR_WANT_WRITE:
      if (now.output_error != 0) return {tls_status::system, static_cast<std::uint32_t>(now.output_error)};
      return {tls_status::want_write};
    case SSL_ERROR_SSL: return {tls_status::openssl, next_error()};
    case SSL_ERROR_SYSCALL: {
      const std::uint32_t code = next_error();
      return {code != 0 ? tls_status::openssl : tls_status::unspecified, code};
    }
    default: return {tls_status::unexpected};
  }
}

tls_result tls_engine::flush(step& now) noexcept {
  if (gathered_.length != 0 && now.output_error == 0) send_behind(now, nullptr, 0);
  if (now.output_error != 0) {
    abandon_write();
    return {tls_status::system, static_cast<std::uint32_t>(now.output_error)};
  }
  return {gathered_.length != 0 ? tls_status::want_write : tls_status::done};
}

// Of a step that is no read.
tls_result tls_engine::ending_with(const tls_result& result) noexcept {
  if (result.status == tls_status::openssl || result.status == tls_status::unspecified) asks_first_ = true;
  return result;
}

// A connection that has been, and that OpenSSL was told to forget (SSL_clear).
void tls_engine::begin_anew() noexcept {
  drop(gathered_);
  drop(staged_);
  deferred_ = {};
  barren_bytes_ = retry_bytes_ = 0;
  abandoned_ = input_over_ = owes_ = false;
  asks_first_ = true;
}

tls_result tls_engine::handshake(int descriptor, bool is_server) noexcept {
  if (SSL_in_before(ssl_) != 0) begin_anew();
  if (abandoned_) return {tls_status::system, EPIPE};
  step now(*this, descriptor);
  now.gathers = true;  // a flight leaves as a whole
  now.keeps_rest = true;
  now.gather_wanted = control_bytes_usual;
  forget_errors();
  const tls_result result = result_of(now, is_server ? SSL_accept(ssl_) : SSL_connect(ssl_));
  // Whatever came of it: an alert is part of it.
  const tls_result sent = flush(now);
  if (result.status != tls_status::done && result.status != tls_status::want_read) return ending_with(result);
  if (result.status == tls_status::done) {
    barren_bytes_ = 0;
    asks_first_ = false;
    forget_handshake(ssl_);
  }
  return sent.status != tls_status::done ? sent : result;
}

bool tls_engine::take_deferred(tls_result& result) noexcept {
  if (deferred_.status == tls_status::done) return false;
  // Not asked again after the end: OpenSSL would wait for what cannot come.
  result = input_over_ ? deferred_ : std::exchange(deferred_, {});
  return true;
}

// Of an SSL_read() or SSL_peek() that brought nothing.
tls_result tls_engine::end_of_read(const step& now, int returned) noexcept {
  tls_result result = result_of(now, returned);
  if (SSL_in_before(ssl_) != 0) return result;  // there may be a handshake yet
  asks_first_ = false;
  input_over_ = result.status != tls_status::want_read && result.status != tls_status::want_write;
  if (input_over_) deferred_ = result;
  if (result.status == tls_status::want_read && barren_bytes_ > tls_barren_bytes_max)
    result.status = tls_status::unexpected;
  // The peer may wait for it before it sends more.
  if (result.status == tls_status::want_read && owes_) result.status = tls_status::want_write;
  return result;
}

// What an earlier read had to send, before this one reads.
void tls_engine::send_owed(step& now) noexcept {
  now.keeps_rest = true;
  // Where it cannot be sent, reading goes on: there may be bytes that came before.
  if (owes_) flush(now);
}

tls_result tls_engine::peek(int descriptor) noexcept {
  tls_result ended;
  if (take_deferred(ended)) return ended;
  step now(*this, descriptor);
  send_owed(now);
  forget_errors();
  char byte = 0;
  const int returned = SSL_peek(ssl_, &byte, 1);
  OPENSSL_cleanse(&byte, 1);
  return returned > 0 ? tls_result{} : end_of_read(now, returned);
}

tls_result tls_engine::read(int descriptor, std::span<const ::iovec> parts, std::size_t& bytes) noexcept {
  bytes = 0;
  tls_result ended;
  if (take_deferred(ended)) return ended;
  step now(*this, descriptor);
  send_owed(now);
  for (const ::iovec& part : parts) {
    for (std::size_t filled = 0; filled != part.iov_len;) {
      const auto room = static_cast<int>(std::min<std::size_t>(part.iov_len - filled, INT32_MAX));
      forget_errors();
      const int returned = SSL_read(ssl_, static_cast<char*>(part.iov_base) + filled, room);
      if (returned <= 0) {
        const tls_result result = end_of_read(now, returned);
        if (bytes == 0) return result;
        // What is owed says so itself.
        if (result.status == tls_status::want_write && !owes_) deferred_ = result;
        return {};
      }
      filled += static_cast<std::size_t>(returned);
      bytes += static_cast<std::size_t>(returned);
      barren_bytes_ = 0;
      // More, if it costs no system call or one that is likely to bring something.
      if (!now.received_all_asked && SSL_has_pending(ssl_) == 0) return {};
      now.may_receive = std::exchange(now.received_all_asked, false);
    }
  }
  return {};
}

std::span<const std::byte> tls_engine::next_record(std::span<const ::iovec> parts, std::size_t position) noexcept {
  std::size_t index = 0;
  while (position >= parts[index].iov_len) position -= parts[index++].iov_len;
  const std::span first(static_cast<const std::byte*>(parts[index].iov_base) + position,
                        std::min(parts[index].iov_len - position, tls_record_bytes_max));
  if (retry_bytes_ != 0 && staged_.block != nullptr) return staged_.span();
  if (first.size() >= part_bytes_alone || index + 1 == parts.size()) return first;
  std::size_t wanted = 0;
  for (std::size_t each = index; each < parts.size(); ++each) wanted += parts[each].iov_len;
  wanted = std::min(wanted - position, std::min(tls_record_bytes_max, pool_->block_bytes_max()));
  if (wanted <= first.size()) return first;
  staged_ = slabbuf::detail::block_part::try_take(*pool_, wanted);
  if (staged_.block == nullptr) return first;  // a smaller record; the pool counts the refusal
  staged_.clear_on_release();
  for (; staged_.length < wanted; ++index, position = 0) {
    const std::size_t count = std::min(parts[index].iov_len - position, wanted - staged_.length);
    if (count == 0) continue;
    std::memcpy(staged_.room().data(), static_cast<const std::byte*>(parts[index].iov_base) + position, count);
    staged_.extend(static_cast<std::uint32_t>(count));
  }
  return staged_.span();
}

tls_result tls_engine::write(int descriptor, std::span<const ::iovec> parts, std::size_t& taken) noexcept {
  step now(*this, descriptor);
  if (abandoned_) return {tls_status::system, EPIPE};
  if (gathered_.length != 0) {
    const tls_result sent = flush(now);
    if (sent.status != tls_status::done) return sent;
  }
  std::size_t total = 0;
  for (const ::iovec& each : parts) total += each.iov_len;
  // All that an earlier call encrypted is sent, unless OpenSSL still has a record.
  if (taken != 0 && retry_bytes_ == 0) return {};
  const std::size_t step_end = std::min(total, taken + tls_step_bytes_max);
  while (taken < step_end) {
    const std::span<const std::byte> record = next_record(parts, taken);
    const std::size_t count = retry_bytes_ != 0 ? retry_bytes_ : std::min(record.size(), step_end - taken);
    const std::size_t left = step_end - taken - count;
    now.gathers = left != 0 && retry_bytes_ == 0 && !now.blocked;
    now.gather_wanted = static_cast<std::uint32_t>(
        std::min(tls_gather_bytes_max, count + left + (left / tls_record_bytes_max + 1) * record_overhead_bytes -
                                           std::min(left, tls_record_bytes_max)));
    forget_errors();
    const int returned = SSL_write(ssl_, record.data(), static_cast<int>(count));
    if (returned <= 0) {
      now.gathers = false;
      const tls_result result = result_of(now, returned);
      // Before the handshake and behind our close_notify OpenSSL has taken nothing: the connection is as good as it
      // was.
      if (SSL_in_before(ssl_) != 0 || (SSL_get_shutdown(ssl_) & SSL_SENT_SHUTDOWN) != 0) {
        drop(staged_);
        return result;
      }
      retry_bytes_ = static_cast<std::uint32_t>(count);
      if (result.status != tls_status::want_read && result.status != tls_status::want_write) abandon_write();
      return ending_with(result);
    }
    retry_bytes_ = 0;
    drop(staged_);
    taken += static_cast<std::size_t>(returned);
    if (!now.gathers) break;  // it has left, or a part of it is to leave first
  }
  now.gathers = false;
  return flush(now);
}

tls_result tls_engine::shutdown(int descriptor) noexcept {
  step now(*this, descriptor);
  if (abandoned_) return {tls_status::system, EPIPE};
  now.keeps_rest = true;
  forget_errors();
  int returned = SSL_shutdown(ssl_);
  // 0: ours is on its way; the second call looks for the peer's.
  if (returned == 0) {
    forget_errors();
    returned = SSL_shutdown(ssl_);
  }
  const tls_result result = result_of(now, returned);
  const tls_result sent = flush(now);
  if (result.status != tls_status::done && result.status != tls_status::want_read) return ending_with(result);
  return sent.status != tls_status::done ? sent : result;
}

void tls_engine::abandon_write() noexcept {
  if (retry_bytes_ == 0 && gathered_.length == 0) return;
  abandoned_ = true;
  owes_ = false;
  retry_bytes_ = 0;
  drop(gathered_);
  drop(staged_);
}

// True when it is kept, all of it.
bool tls_engine::keep(const step& now, const std::byte* from, std::size_t count) noexcept {
  std::size_t wanted = std::min(std::max<std::size_t>(count, now.gather_wanted), pool_->block_bytes_max());
  // Where the budget is short, a smaller one; none while others wait for the budget.
  while (gathered_.block == nullptr && wanted >= count && !pool_->has_waiters()) {
    gathered_ = slabbuf::detail::block_part::try_take(*pool_, wanted);
    wanted /= 2;
  }
  if (gathered_.block == nullptr || gathered_.room().size() < count) return false;
  std::memcpy(gathered_.room().data(), from, count);
  gathered_.extend(static_cast<std::uint32_t>(count));
  return true;
}

// Sends what is kept and, behind it, these. Returns how many of these the socket has taken.
std::size_t tls_engine::send_behind(step& now, const std::byte* from, std::size_t count) noexcept {
  ::iovec parts[2];
  std::size_t used = 0;
  // The system's type knows no const; sending changes nothing.
  if (gathered_.length != 0) parts[used++] = {const_cast<std::byte*>(gathered_.data()), gathered_.length};
  if (count != 0) parts[used++] = {const_cast<std::byte*>(from), count};
  ::msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = used;
  ::ssize_t sent = 0;
  do {
    // A single part takes the shorter way through the kernel.
    sent = used == 1 ? ::send(now.descriptor, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                     : ::sendmsg(now.descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) now.output_error = errno;
    now.blocked = true;
    return 0;
  }
  auto left = static_cast<std::size_t>(sent);
  now.blocked = left < gathered_.length + count;
  const std::size_t kept = std::min<std::size_t>(left, gathered_.length);
  gathered_.offset += static_cast<std::uint32_t>(kept);
  gathered_.length -= static_cast<std::uint32_t>(kept);
  left -= kept;
  if (gathered_.length == 0) {
    drop(gathered_);
    owes_ = false;
  }
  return left;
}

int tls_engine::transmit(step& now, const std::byte* from, std::size_t count) noexcept {
  note_record_written(from + count, record_content::ciphertext);
  if (now.output_error != 0) return -1;
  if (abandoned_) return static_cast<int>(count);  // behind a record that was cut off, nobody could read it
  if (now.gathers && keep(now, from, count)) return static_cast<int>(count);
  std::size_t taken = 0;
  if (!now.blocked) taken = send_behind(now, from, count);
  if (taken < count && now.output_error == 0 && now.keeps_rest && keep(now, from + taken, count - taken)) {
    taken = count;
    owes_ = true;
  }
  return taken != 0 ? static_cast<int>(taken) : -1;
}

int tls_engine::receive(step& now, std::byte* into, std::size_t count) noexcept {
  if (!now.may_receive || now.input_error != 0 || now.received_bytes >= tls_receive_bytes_max) return -1;
  ::ssize_t received = 0;
  do {
    received = ::recv(now.descriptor, into, count, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received > 0) {
    now.received_bytes += static_cast<std::uint32_t>(received);
    barren_bytes_ += static_cast<std::uint32_t>(received);
    note_record_written(into + received, record_content::plaintext);
    now.received_all_asked = static_cast<std::size_t>(received) == count;
    return static_cast<int>(received);
  }
  if (received == 0) {
    now.input_error = end_of_input;
  } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
    now.may_receive = false;
  } else {
    now.input_error = errno;
  }
  return -1;
}

}  // namespace slabbuf::net::detail
