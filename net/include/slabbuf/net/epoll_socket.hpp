// SPDX-License-Identifier: MIT
// A connected stream socket that waits without a system call, to be used in the place of Asio's where a thread has
// many. Threads: as of Asio's: different sockets from any, the same one from one thread or strand at a time. Lifetime:
// as of Asio's: the io_context must outlive the socket; the socket must live, and stay where it is, until the handlers
// of its operations have been called.
//
//     tcp::socket peer = ...;                                 accepted or connected, its options set
//     net::epoll_socket socket(context, std::move(peer));     from here on
//     net::async_read_some(socket, pool, token);              async_write, async_read_until, async_send_file ...
//     asio::async_write(socket, buffers, token);              it is an AsyncReadStream and AsyncWriteStream
//     net::tls_stream<net::epoll_socket<tcp>> stream(...);
//
// Asio asks the system anew for each wait. The sockets of this type of an io_context share an epoll set of their own,
// which Asio watches as one descriptor and in which they stay: where many of them are at work at once a wait costs
// nothing; where a thread has a single one, a turn of the loop costs a system call more than Asio's (epoll_wait). The
// handlers of up to 128 connections that are ready run one after the other, as one handler to io_context::run_one() and
// stop(); none of them may run the io_context itself. With several threads that run one io_context such handlers run on
// one of them at a time, unless they have executors of their own.
#pragma once

#include <slabbuf/net/detail/buffer_parts.hpp>
#include <slabbuf/net/detail/epoll_service.hpp>
#include <slabbuf/net/detail/epoll_socket_op.hpp>
#include <slabbuf/net/detail/native_io.hpp>
#include <slabbuf/net/detail/stream_socket.hpp>
#include <slabbuf/net/read_size.hpp>

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>

#include <cerrno>
#include <cstddef>
#include <system_error>
#include <type_traits>
#include <utility>

namespace slabbuf::net {
namespace detail {

class read_limit;

template <class Socket>
struct initiate_epoll_wait {
  using executor_type = typename Socket::executor_type;
  executor_type get_executor() const noexcept { return socket->get_executor(); }

  template <class Handler>
  void operator()(Handler&& handler, asio::socket_base::wait_type what) const {
    socket->start_wait(std::forward<Handler>(handler), what);
  }

  Socket* socket;
};

template <class Action, class Socket>
struct initiate_epoll_socket_op {
  using executor_type = typename Socket::executor_type;
  executor_type get_executor() const noexcept { return socket->get_executor(); }

  template <class Handler, class Buffers>
  void operator()(Handler&& handler, const Buffers& buffers) const {
    using op = epoll_socket_op<Action, Socket, Buffers, std::decay_t<Handler>>;
    op::start(op(*socket, buffers, std::forward<Handler>(handler)));
  }

  Socket* socket;
};

}  // namespace detail

/// `Protocol` is a stream protocol of Asio's: asio::ip::tcp, asio::local::stream_protocol. Functions that take an
/// error_code set it; those that do not throw std::system_error in its place. A closed socket's errors are
/// bad_descriptor.
template <class Protocol>
class epoll_socket : public asio::socket_base {
 public:
  using executor_type = asio::io_context::executor_type;
  using protocol_type = Protocol;
  using endpoint_type = typename Protocol::endpoint;
  using native_handle_type = int;
  using lowest_layer_type = epoll_socket;

  /// Closed. Throws std::system_error when the first one of an io_context finds no descriptor for the epoll set.
  explicit epoll_socket(asio::io_context& context) : service_(&asio::use_service<detail::epoll_service>(context)) {}

  /// Takes over a connected socket, of any io_context, with which nothing is under way. Throws std::system_error or
  /// std::bad_alloc; the connection is `connected`'s still then.
  template <class Executor>
  epoll_socket(asio::io_context& context, asio::basic_stream_socket<Protocol, Executor>&& connected)
      : epoll_socket(context) {
    if (!connected.is_open()) return;
    detail::epoll_entry& entry = service_->add(connected.native_handle());
    try {
      connected.native_non_blocking(true);
      descriptor_ = connected.release();
    } catch (...) {
      service_->remove(entry);
      throw;
    }
    entry_ = &entry;
  }
  explicit epoll_socket(asio::basic_stream_socket<Protocol, executor_type>&& connected)
      : epoll_socket(connected.get_executor().context(), std::move(connected)) {}

  /// While nothing is under way. What was moved from is closed.
  epoll_socket(epoll_socket&& other) noexcept
      : service_(other.service_),
        entry_(std::exchange(other.entry_, nullptr)),
        descriptor_(std::exchange(other.descriptor_, -1)),
        learnt_(other.learnt_) {}
  epoll_socket& operator=(epoll_socket&& other) noexcept {
    if (this == &other) return *this;
    close_now();
    service_ = other.service_;
    entry_ = std::exchange(other.entry_, nullptr);
    descriptor_ = std::exchange(other.descriptor_, -1);
    learnt_ = other.learnt_;
    return *this;
  }

  /// Closes it: what is under way completes with operation_aborted.
  ~epoll_socket() { close_now(); }

  executor_type get_executor() const noexcept { return service_->context().get_executor(); }
  lowest_layer_type& lowest_layer() noexcept { return *this; }
  const lowest_layer_type& lowest_layer() const noexcept { return *this; }
  bool is_open() const noexcept { return descriptor_ >= 0; }
  /// The descriptor, which stays the socket's; -1 when closed.
  native_handle_type native_handle() const noexcept { return descriptor_; }

  /// What is under way completes with operation_aborted. To close a closed socket is no error.
  void close(asio::error_code& ec) noexcept {
    ec.clear();
    if (close_now() != 0) ec.assign(errno, asio::error::get_system_category());
  }
  void close() {
    or_throw("close", [&](asio::error_code& ec) { close(ec); });
  }

  /// Gives the descriptor away. What is under way completes with operation_aborted.
  native_handle_type release() noexcept {
    if (entry_ != nullptr) service_->remove(*std::exchange(entry_, nullptr));
    return std::exchange(descriptor_, -1);
  }

  /// What is under way completes with operation_aborted.
  void cancel(asio::error_code& ec) noexcept {
    ec = is_open() ? asio::error_code() : asio::error_code(asio::error::bad_descriptor);
    if (is_open()) service_->cancel(*entry_);
  }
  void cancel() {
    or_throw("cancel", [&](asio::error_code& ec) { cancel(ec); });
  }

  void shutdown(shutdown_type what, asio::error_code& ec) noexcept { check(::shutdown(descriptor_, what), ec); }
  void shutdown(shutdown_type what) {
    or_throw("shutdown", [&](asio::error_code& ec) { shutdown(what, ec); });
  }

  endpoint_type local_endpoint(asio::error_code& ec) const { return endpoint_by(&::getsockname, ec); }
  endpoint_type local_endpoint() const {
    return or_throw("local_endpoint", [&](asio::error_code& ec) { return local_endpoint(ec); });
  }
  endpoint_type remote_endpoint(asio::error_code& ec) const { return endpoint_by(&::getpeername, ec); }
  endpoint_type remote_endpoint() const {
    return or_throw("remote_endpoint", [&](asio::error_code& ec) { return remote_endpoint(ec); });
  }

  /// Asio's options: asio::ip::tcp::no_delay and the others.
  template <class Option>
  void set_option(const Option& option, asio::error_code& ec) {
    const Protocol protocol = local_endpoint(ec).protocol();
    if (ec) return;
    check(::setsockopt(descriptor_, option.level(protocol), option.name(protocol), option.data(protocol),
                       static_cast<::socklen_t>(option.size(protocol))),
          ec);
  }
  template <class Option>
  void set_option(const Option& option) {
    or_throw("set_option", [&](asio::error_code& ec) { set_option(option, ec); });
  }
  template <class Option>
  void get_option(Option& option, asio::error_code& ec) const {
    const Protocol protocol = local_endpoint(ec).protocol();
    if (ec) return;
    auto size = static_cast<::socklen_t>(option.size(protocol));
    check(::getsockopt(descriptor_, option.level(protocol), option.name(protocol), option.data(protocol), &size), ec);
    if (!ec) option.resize(protocol, size);
  }
  template <class Option>
  void get_option(Option& option) const {
    or_throw("get_option", [&](asio::error_code& ec) { get_option(option, ec); });
  }

  /// It never blocks: what cannot be done at once fails with would_block. To ask for anything else fails with
  /// operation_not_supported.
  static bool non_blocking() noexcept { return true; }
  static bool native_non_blocking() noexcept { return true; }
  static void non_blocking(bool mode, asio::error_code& ec) noexcept {
    ec = mode ? asio::error_code() : asio::error_code(asio::error::operation_not_supported);
  }
  static void native_non_blocking(bool mode, asio::error_code& ec) noexcept { non_blocking(mode, ec); }
  static void non_blocking(bool mode) {
    or_throw("non_blocking", [&](asio::error_code& ec) { non_blocking(mode, ec); });
  }
  static void native_non_blocking(bool mode) { non_blocking(mode); }

  /// Receives what is there, at most 64 buffers of it; returns how many bytes. Errors: would_block, eof, or another
  /// one.
  template <class MutableBufferSequence>
  std::size_t read_some(const MutableBufferSequence& buffers, asio::error_code& ec) {
    return transfer<detail::epoll_receive>(buffers, ec);
  }
  template <class MutableBufferSequence>
  std::size_t read_some(const MutableBufferSequence& buffers) {
    return or_throw("read_some", [&](asio::error_code& ec) { return read_some(buffers, ec); });
  }

  /// Sends what there is room for, at most 64 buffers of it; returns how many bytes. Errors: would_block or another
  /// one.
  template <class ConstBufferSequence>
  std::size_t write_some(const ConstBufferSequence& buffers, asio::error_code& ec) {
    return transfer<detail::epoll_send>(buffers, ec);
  }
  template <class ConstBufferSequence>
  std::size_t write_some(const ConstBufferSequence& buffers) {
    return or_throw("write_some", [&](asio::error_code& ec) { return write_some(buffers, ec); });
  }

  /// Completes with (error_code) when the socket can be read from or written to without waiting, or is in error: a
  /// hint. Errors: operation_aborted when cancelled or closed; no_buffer_space or no_memory when the system cannot
  /// watch one more; operation_not_supported for wait_error. Supports every type of cancellation.
  template <class Token>
  auto async_wait(wait_type what, Token&& token) {
    return asio::async_initiate<Token, void(asio::error_code)>(detail::initiate_epoll_wait<epoll_socket>{this}, token,
                                                               what);
  }

  /// Receives some bytes, at least one unless the buffers have no room. Completes with (error_code, size_t): eof when
  /// the peer has closed its side; operation_aborted; or another error of the socket. Supports every type of
  /// cancellation.
  template <class MutableBufferSequence, class Token>
  auto async_read_some(const MutableBufferSequence& buffers, Token&& token) {
    return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
        detail::initiate_epoll_socket_op<detail::epoll_receive, epoll_socket>{this}, token, buffers);
  }

  /// Sends some bytes, at least one unless there are none. Completes with (error_code, size_t): operation_aborted, or
  /// another error of the socket. Supports every type of cancellation.
  template <class ConstBufferSequence, class Token>
  auto async_write_some(const ConstBufferSequence& buffers, Token&& token) {
    return asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
        detail::initiate_epoll_socket_op<detail::epoll_send, epoll_socket>{this}, token, buffers);
  }

 private:
  friend detail::initiate_epoll_wait<epoll_socket>;
  friend detail::read_limit;

  template <class Handler>
  void start_wait(Handler&& handler, wait_type what) {
    if (is_open() && what != wait_error) {
      return service_->async_wait(*entry_, what == wait_read ? detail::readiness::read : detail::readiness::write,
                                  std::forward<Handler>(handler));
    }
    const asio::error_code ec = is_open() ? asio::error_code(asio::error::operation_not_supported)
                                          : asio::error_code(asio::error::bad_descriptor);
    const auto there = asio::get_associated_executor(handler, get_executor());
    asio::post(there, detail::ended_wait<std::decay_t<Handler>, known_result>{std::forward<Handler>(handler), {ec}});
  }

  struct known_result {
    asio::error_code ec;
    const asio::error_code& code() const noexcept { return ec; }
  };

  // What close(2) says.
  int close_now() noexcept {
    const int closed = release();
    return closed < 0 ? 0 : ::close(closed);
  }

  static void check(int result, asio::error_code& ec) noexcept {
    ec.clear();
    if (result != 0) ec.assign(errno, asio::error::get_system_category());
  }

  endpoint_type endpoint_by(int (*ask)(int, ::sockaddr*, ::socklen_t*), asio::error_code& ec) const {
    endpoint_type found;
    auto size = static_cast<::socklen_t>(found.capacity());
    check(ask(descriptor_, found.data(), &size), ec);
    if (ec) return {};
    found.resize(size);
    return found;
  }

  template <class Action, class Buffers>
  std::size_t transfer(const Buffers& buffers, asio::error_code& ec) {
    ::iovec parts[detail::gather_max];
    const std::size_t count = detail::parts_of<typename Action::buffer_type>(buffers, parts);
    ec.clear();
    return count != 0 ? Action::now(descriptor_, {parts, count}, ec) : 0;
  }

  template <class Call>
  static auto or_throw(const char* what, Call call) {
    asio::error_code ec;
    if constexpr (std::is_void_v<decltype(call(ec))>) {
      call(ec);
      if (ec) throw std::system_error(ec, what);
    } else {
      auto result = call(ec);
      if (ec) throw std::system_error(ec, what);
      return result;
    }
  }

  detail::epoll_service* service_;
  detail::epoll_entry* entry_ = nullptr;  // while it is open
  int descriptor_ = -1;
  detail::learnt_read_size learnt_{read_size::first_default};  // for async_read_some(): how much the peer sends
};

template <class Protocol, class Executor>
epoll_socket(asio::io_context&, asio::basic_stream_socket<Protocol, Executor>&&) -> epoll_socket<Protocol>;

}  // namespace slabbuf::net
