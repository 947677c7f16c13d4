// SPDX-License-Identifier: MIT
// Datagrams in batches: many a system call, each in a block of its own.
// Threads: as the socket: one operation on a batch at a time, and nobody else touches it meanwhile. One that
// receives and one that sends may share a socket, each with a batch of its own. With a local_pool, on the
// pool's thread.
// Lifetime: pool, socket and batch must live until the handler is called. Hold a batch as long as the socket;
// it allocates when it is made and never again. Its buffers are yours, to read, change, take or replace.
//
//     async_receive(socket, batch)    clears the batch and waits, holding no block
//     readable                        takes blocks, recvmmsg; blocks that got nothing go back
//     handler(ec, count)              batch[0] .. batch[count - 1]: peer, bytes, truncated
//     async_send(socket, batch)       sendmmsg; each block goes back as soon as the socket has its bytes
//     handler(ec, sent)               what could not be sent is still there, and says why in `error`
//
// Echoing is a receive and a send of the same batch: nothing is copied.
//
// A batch that coalesces lets the system join and cut: several datagrams of one peer and size come in one block
// (UDP_GRO; udp_datagram::segment_bytes), and leave in one message (UDP_SEGMENT).
#pragma once

#include <slabbuf/net/detail/associated_op.hpp>
#include <slabbuf/net/detail/datagram_messages.hpp>
#include <slabbuf/net/detail/native_datagrams.hpp>
#include <slabbuf/net/udp_datagram.hpp>
#include <slabbuf/pool/basic_pool.hpp>
#include <slabbuf/pool/buffer.hpp>

#include <asio/async_result.hpp>
#include <asio/basic_datagram_socket.hpp>
#include <asio/error.hpp>
#include <asio/execution/allocator.hpp>
#include <asio/ip/udp.hpp>
#include <asio/post.hpp>
#include <asio/require.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace slabbuf::net {

/// How much a udp_batch takes at once.
struct udp_batch_options {
  std::size_t datagrams_max = 64;         // 1 .. 1024: in one batch
  std::size_t datagram_bytes_max = 2048;  // 1 .. 65535: of one received; the rest of a larger one is cut off
  // Let the system join and cut; datagram_bytes_max is 65535 then. A socket that was received from once gives joined
  // datagrams for good, to whatever receives from it: use no other batch on it, and a new batch for a new socket.
  bool coalesce = false;
};

/// What became of coalescing, since the batch was made.
struct udp_batch_stats {
  std::uint64_t received_coalesced = 0;  // datagrams that came with others in one block
  std::uint64_t sent_coalesced = 0;      // datagrams that left with others in one message
  std::uint64_t refused = 0;             // times the system would not: what was concerned went one by one
};

namespace detail {
template <class Socket, class Handler>
class receive_batch_op;
template <class Socket, class Handler>
class send_batch_op;
}  // namespace detail

class udp_batch {
 public:
  /// An empty batch whose blocks will come from `pool`. Throws std::invalid_argument when an option is out of its
  /// range, or the budget has no room for one block of datagram_bytes_max; and std::bad_alloc.
  explicit udp_batch(basic_pool<true>& pool, const udp_batch_options& options = {})
      : udp_batch(options, pool.can_ever_have(block_bytes(options))) {
    shared_ = &pool;
  }
  explicit udp_batch(basic_pool<false>& pool, const udp_batch_options& options = {})
      : udp_batch(options, pool.can_ever_have(block_bytes(options))) {
    local_ = &pool;
  }
  udp_batch(const udp_batch&) = delete;
  udp_batch& operator=(const udp_batch&) = delete;
  ~udp_batch() = default;

  /// Datagrams in it.
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::size_t datagrams_max() const noexcept { return datagrams_.size(); }
  std::size_t datagram_bytes_max() const noexcept { return datagram_bytes_max_; }
  bool coalesces() const noexcept { return messages_.coalesces(); }
  udp_batch_stats stats() const noexcept {
    return {messages_.received_coalesced(), messages_.sent_coalesced(), messages_.refused() + refused_};
  }

  /// The datagrams; `index` is below size(). References are good until the batch dies, what they refer to until
  /// the next operation or clear().
  udp_datagram& operator[](std::size_t index) noexcept { return datagrams_[index]; }
  const udp_datagram& operator[](std::size_t index) const noexcept { return datagrams_[index]; }
  udp_datagram* begin() noexcept { return datagrams_.data(); }
  udp_datagram* end() noexcept { return datagrams_.data() + size_; }
  const udp_datagram* begin() const noexcept { return datagrams_.data(); }
  const udp_datagram* end() const noexcept { return datagrams_.data() + size_; }

  /// One more datagram to send, of any pool and any size: to `peer`, or to whom the socket is connected. Throws
  /// std::length_error when datagrams_max are in it. With `segment_bytes`, as many as the bytes are datagrams of
  /// that size.
  void push_back(buffer bytes, const asio::ip::udp::endpoint& peer = {}, std::size_t segment_bytes = 0) {
    if (size_ == datagrams_.size()) throw std::length_error("udp_batch: it is full");
    datagrams_[size_++] = {peer, std::move(bytes), false, {}, segment_bytes, 0};
  }

  /// Gives every block back; the batch is empty.
  void clear() noexcept {
    forget();
    granted_.release();
  }

  /// A block that was waited for (async_acquire, after no_buffer_space): the next async_receive uses it first, and
  /// looks into the socket at once instead of waiting. It gives the block back when there is no datagram. Throws
  /// std::invalid_argument when it has less than datagram_bytes_max.
  void grant(buffer block) {
    if (block.capacity() < datagram_bytes_max_) throw std::invalid_argument("udp_batch: the block is too small");
    granted_ = std::move(block);
  }

 private:
  template <class Socket, class Handler>
  friend class detail::receive_batch_op;
  template <class Socket, class Handler>
  friend class detail::send_batch_op;

  // Up to here it is cheaper to clear blocks as a whole than to ask the system whether that is needed: about half
  // a microsecond.
  static constexpr std::size_t cleared_bytes_cheap = std::size_t{32} << 10;

  static constexpr std::size_t coalesced_bytes_max = 65'535;

  static std::size_t block_bytes(const udp_batch_options& options) noexcept {
    return options.coalesce ? coalesced_bytes_max : options.datagram_bytes_max;
  }

  udp_batch(const udp_batch_options& options, bool has_room)
      : datagram_bytes_max_(block_bytes(options)),
        messages_(std::min(options.datagrams_max, detail::datagrams_per_call_max), options.coalesce) {
    if (options.datagrams_max == 0 || options.datagrams_max > detail::datagrams_per_call_max)
      throw std::invalid_argument("udp_batch: datagrams_max is not between 1 and 1024");
    if (options.datagram_bytes_max == 0 || options.datagram_bytes_max > 65'535)
      throw std::invalid_argument("udp_batch: datagram_bytes_max is not between 1 and 65535");
    if (!has_room) throw std::invalid_argument("udp_batch: the pool's budget has no room for one datagram");
    datagrams_.resize(options.datagrams_max);
  }

  void forget() noexcept {
    for (udp_datagram& each : *this) each.bytes.release();
    size_ = 0;
  }

  // Whether a look into the socket before waiting is worth it.
  bool expects_datagrams() const noexcept { return filled_ || granted_ || kept_error_; }

  // Coalescing has to be asked of each socket once.
  void prepare_receive(int descriptor) noexcept {
    if (!coalesces() || descriptor < 0 || descriptor == coalesced_descriptor_) return;
    coalesced_descriptor_ = descriptor;
    if (!detail::receive_segments(descriptor)) ++refused_;
  }

  // Receives what is there. Datagrams, or 0 and in `ec` why there are none.
  std::size_t receive_now(int descriptor, asio::error_code& ec) noexcept {
    ec.clear();
    if (const asio::error_code kept = std::exchange(kept_error_, {}); kept && descriptor == kept_descriptor_) {
      ec = kept;
      return 0;
    }
    // Blocks for as many as the last time and a few more: those that get nothing have to be put back.
    for (std::size_t step = expected_; size_ < datagrams_.size(); step = size_) {
      const std::size_t wanted = std::min(step, datagrams_.size() - size_);
      const std::size_t offered = offer(wanted);
      if (offered == 0) {
        if (size_ == 0) ec = asio::error::no_buffer_space;
        break;
      }
      const std::size_t count = detail::receive_datagrams_now(descriptor, messages_.offered(size_, offered), ec);
      accept(descriptor, count, offered);
      if (count < wanted) break;
    }
    filled_ = size_ == datagrams_.size();
    if (size_ == 0) return 0;
    expected_ = std::min(size_ + size_ / 4 + 1, datagrams_.size());
    // What is wrong is for the next receive to say: this one has something to deliver.
    if (ec && ec != asio::error::would_block) {
      kept_error_ = ec;
      kept_descriptor_ = descriptor;
    }
    ec.clear();
    return size_;
  }

  // Blocks for `wanted` more datagrams, or for as many as the budget allows. Its turn is behind those who wait.
  std::size_t offer(std::size_t wanted) noexcept {
    std::size_t offered = 0;
    for (; offered < wanted; ++offered) {
      const std::size_t index = size_ + offered;
      udp_datagram& datagram = datagrams_[index];
      datagram.bytes = granted_ ? std::move(granted_) : acquire();
      if (!datagram.bytes) break;
      messages_.offer(index, datagram, datagram_bytes_max_);
    }
    return offered;
  }

  buffer acquire() noexcept {
    if (shared_ != nullptr) return shared_->has_waiters() ? buffer() : shared_->try_acquire(datagram_bytes_max_);
    return local_->has_waiters() ? buffer() : local_->try_acquire(datagram_bytes_max_);
  }

  // The first `count` of the blocks offered have got a datagram each.
  void accept(int descriptor, std::size_t count, std::size_t offered) noexcept {
    // The kernel copies a datagram before it knows that its checksum matches, and where it does not the next
    // datagram goes into the same block: bytes beyond its end may have been written. All of the block counts
    // as written, unless it is known that no datagram was dropped.
    const bool extent_known = (count + 1) * datagram_bytes_max_ > cleared_bytes_cheap && none_dropped(descriptor);
    for (std::size_t index = size_; index < size_ + count; ++index) {
      udp_datagram& datagram = datagrams_[index];
      const std::size_t bytes = messages_.accept(index, datagram);
      if (extent_known) {
        datagram.bytes.commit(bytes);
      } else {
        datagram.bytes.resize(bytes);
      }
    }
    for (std::size_t index = size_ + count; index < size_ + offered; ++index) {
      // Only the first of the rest was in the kernel's hands.
      if (extent_known || index != size_ + count) datagrams_[index].bytes.commit(0);
      datagrams_[index].bytes.release();
    }
    size_ += count;
  }

  // Whether the socket has dropped nothing since the last time this was asked of it.
  bool none_dropped(int descriptor) noexcept {
    const std::optional<std::uint32_t> dropped = detail::dropped_datagrams(descriptor);
    if (!dropped) return false;
    if (*dropped == 0) return true;
    // A descriptor may be another socket's by now: the count is of this one only if the cookie is.
    const std::uint64_t cookie = detail::socket_cookie(descriptor);
    const bool same = cookie != 0 && cookie == dropped_cookie_ && *dropped == dropped_;
    dropped_cookie_ = cookie;
    dropped_ = *dropped;
    return same;
  }

  void begin_send() noexcept { messages_.begin_send({begin(), end()}); }
  bool send_now(int descriptor, asio::error_code& ec) noexcept {
    return messages_.send_now(descriptor, {begin(), end()}, ec);
  }

  basic_pool<true>* shared_ = nullptr;  // one of the two
  basic_pool<false>* local_ = nullptr;
  std::size_t datagram_bytes_max_;
  std::size_t size_ = 0;
  std::size_t expected_ = 8;             // datagrams the next receive takes blocks for at first
  bool filled_ = false;                  // the last receive took as many as there is room for
  buffer granted_;                       // for the next receive
  asio::error_code kept_error_;          // for the next receive
  int kept_descriptor_ = -1;             // whose it is
  std::uint32_t dropped_ = 0;            // what the socket had dropped when that was last asked
  std::uint64_t dropped_cookie_ = 0;     // which socket
  std::vector<udp_datagram> datagrams_;  // the first size_ are in use
  detail::datagram_messages messages_;   // what they travel in
  int coalesced_descriptor_ = -1;        // the socket that was asked to coalesce last
  std::uint64_t refused_ = 0;            // times it would not
};

namespace detail {

/// Calls `op` through its executor, later, with memory from its allocator. asio::post() would drop the allocator
/// where the executor is an any_io_executor, and go to the heap: there, a wait that ends at once does it.
template <class Socket, class Op>
void call_later(Socket& socket, Op&& op) {
  using op_type = std::decay_t<Op>;
  using allocator = asio::execution::allocator_t<typename op_type::allocator_type>;
  if constexpr (asio::can_require<typename op_type::executor_type, allocator>::value) {
    asio::post(std::forward<Op>(op));
  } else {
    socket.async_wait(Socket::wait_write, std::forward<Op>(op));
  }
}

template <class Socket, class Handler>
class receive_batch_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  receive_batch_op(Socket& socket, udp_batch& batch, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_total_cancellation()),
        batch_(&batch) {}

  static void start(receive_batch_op&& op) {
    op.batch_->forget();
    op.batch_->prepare_receive(op.descriptor());
    if (op.batch_->expects_datagrams() && op.advance()) {
      op.settled_ = true;
      return call_later(op.io_object(), std::move(op));
    }
    wait(std::move(op));
  }

  /// The socket is readable, or the wait failed; or it was settled at once.
  void operator()(asio::error_code ec = {}) {
    if (!settled_) {
      ec_ = ec;
      if (!ec_ && this->closed()) ec_ = asio::error::operation_aborted;
      // Readiness is a hint: another reader may have been faster, or a checksum did not match.
      if (!ec_ && !advance()) {
        if (!this->ended()) return wait(std::move(*this));
        ec_ = asio::error::operation_aborted;
      }
    }
    this->complete(ec_, batch_->size());
  }

 private:
  static void wait(receive_batch_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Socket::wait_read, std::move(op));
  }

  // False when there is nothing yet.
  bool advance() noexcept {
    batch_->receive_now(this->descriptor(), ec_);
    return ec_ != asio::error::would_block;
  }

  udp_batch* batch_;
  asio::error_code ec_;
  bool settled_ = false;
};

template <class Socket, class Handler>
class send_batch_op : public associated_op<Socket, Handler> {
 public:
  template <class H>
  send_batch_op(Socket& socket, udp_batch& batch, H&& handler)
      : associated_op<Socket, Handler>(socket, std::forward<H>(handler), asio::enable_partial_cancellation()),
        batch_(&batch) {}

  static void start(send_batch_op&& op) {
    op.batch_->begin_send();
    if (op.batch_->send_now(op.descriptor(), op.ec_)) return wait(std::move(op));
    op.settled_ = true;
    call_later(op.io_object(), std::move(op));
  }

  /// The socket has room again, or the wait failed; or it was settled at once.
  void operator()(asio::error_code ec = {}) {
    if (!settled_) {
      ec_ = ec;
      if (!ec_ && this->ended()) ec_ = asio::error::operation_aborted;
      if (!ec_ && batch_->send_now(this->descriptor(), ec_)) return wait(std::move(*this));
    }
    this->complete(ec_, batch_->messages_.sent());
  }

 private:
  static void wait(send_batch_op&& op) {
    Socket& socket = op.io_object();
    socket.async_wait(Socket::wait_write, std::move(op));
  }

  udp_batch* batch_;
  asio::error_code ec_;
  bool settled_ = false;
};

template <class Socket, template <class, class> class Op>
struct initiate_batch {
  using executor_type = typename Socket::executor_type;
  executor_type get_executor() const noexcept { return socket->get_executor(); }

  template <class Handler>
  void operator()(Handler&& handler, udp_batch* batch) const {
    using op = Op<Socket, std::decay_t<Handler>>;
    op::start(op(*socket, *batch, std::forward<Handler>(handler)));
  }

  Socket* socket;
};

}  // namespace detail

/// Gives back what the batch holds, waits for a datagram, and takes all that are there by then, as far as the
/// batch and the pool's budget have room. Completes with (error_code, size_t):
///  - no error: the number of datagrams, batch.size(), at least 1. A datagram that brought no bytes is one, too;
///    several in one block count once;
///  - no_buffer_space: datagrams are there, but the budget or the system has no room for a block, or others wait
///    for it (async_acquire). They stay in the socket, and a later call gets them;
///  - operation_aborted: cancelled, or the socket was closed; or any other error of the socket, which may be
///    about something it sent before (connection_refused, where it is connected). With an error there are 0.
/// Supports every type of cancellation, because nothing is taken from the socket before completion.
template <class Executor, class Token>
auto async_receive(asio::basic_datagram_socket<asio::ip::udp, Executor>& socket, udp_batch& batch, Token&& token) {
  using socket_type = asio::basic_datagram_socket<asio::ip::udp, Executor>;
  return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
      detail::initiate_batch<socket_type, detail::receive_batch_op>{&socket}, token, &batch);
}

/// Sends every datagram of the batch that owns a block, in order, waiting where the socket has no room. Completes
/// with (error_code, size_t): the number the socket has taken, whose blocks are back.
///  - no error: all were tried. One that the system refuses (too large, no route; on a connected socket also
///    connection_refused, which is about an earlier one) has the reason in its `error` and is not counted;
///    the others are sent all the same;
///  - operation_aborted: cancelled, or the socket was closed; or bad_descriptor.
/// What was not sent stays in the batch with its bytes, and nothing else does: a second async_send sends the rest.
/// Several datagrams in one block count once, when the last has been taken, and share one `error`, which the rest of
/// them is left with.
/// Terminal and partial cancellation end it, total cancellation does not.
template <class Executor, class Token>
auto async_send(asio::basic_datagram_socket<asio::ip::udp, Executor>& socket, udp_batch& batch, Token&& token) {
  using socket_type = asio::basic_datagram_socket<asio::ip::udp, Executor>;
  return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
      detail::initiate_batch<socket_type, detail::send_batch_op>{&socket}, token, &batch);
}

}  // namespace slabbuf::net
