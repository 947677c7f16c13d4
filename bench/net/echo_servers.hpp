// SPDX-License-Identifier: MIT
// Servers that echo, from the bare system calls to the example server: each has what the one before it has, and one
// thing more, so that one can see what each thing is worth.
//
// | server                         | one thread                                                                |
// |--------------------------------|---------------------------------------------------------------------------|
// | bare_epoll                     | epoll_wait, recv, send: the least there is                                |
// | bare_epoll_rearmed             | and an epoll_ctl before it waits for a connection again                   |
// | asio_server<asio_callback>     | async_read_some into the session's array, async_write                     |
// | asio_server<asio_coroutine>    | the same with use_awaitable                                               |
// | asio_server<asio_wait>         | async_wait, then recv and send: nothing is held while it waits            |
// | asio_server<asio_wait_pool>    | the same into a block of a pool, with a handler allocator                 |
// | asio_server<slabbuf_callback>  | net::async_read_some, net::async_write, callbacks                         |
// | asio_server<epoll_wait_pool>   | asio_wait_pool over an epoll_socket: no epoll_ctl for each wait           |
// | asio_server<epoll_callback>    | slabbuf_callback over one                                                 |
// | asio_server<slabbuf_coroutine> | the same with use_awaitable                                               |
// | example_server                 | the example server, over one: budget, limits, deadlines and all           |
//
// Threads: run() is the server's thread; the rest is for one other thread.
// Lifetime: stop() and run()'s return come before the destructor.
#pragma once

#include "echo/echo_service.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

namespace slabbuf::bench {

using tcp = asio::ip::tcp;
using server_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using epoll_socket = net::epoll_socket<tcp>;
using server_acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

inline constexpr std::size_t read_bytes = net::read_bytes_default;

inline tcp::endpoint any_port() { return {asio::ip::address_v4::loopback(), 0}; }

// Level-triggered, non-blocking; a connection is closed by its end of file. `rearmed`: asks for readiness before each
// request, as Asio's async_wait does.
template <bool rearmed>
class basic_bare_epoll {
 public:
  tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  void run() {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, acceptor_.native_handle());
    watch(epoll, stop_read_);
    std::array<::epoll_event, 128> events;
    std::array<char, read_bytes> bytes;
    for (;;) {
      const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
      for (int index = 0; index < count; ++index) {
        const int descriptor = events[static_cast<std::size_t>(index)].data.fd;
        if (descriptor == stop_read_) {
          ::close(epoll);
          return;
        }
        if (descriptor == acceptor_.native_handle()) {
          const int peer = ::accept4(descriptor, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (peer >= 0) watch(epoll, peer);
          if constexpr (rearmed) watch(epoll, descriptor, EPOLL_CTL_MOD);
          continue;
        }
        const ::ssize_t received = ::recv(descriptor, bytes.data(), bytes.size(), 0);
        if (received <= 0) {
          ::close(descriptor);
        } else {
          // A request fits into the socket's buffer.
          static_cast<void>(::send(descriptor, bytes.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL));
          if constexpr (rearmed) watch(epoll, descriptor, EPOLL_CTL_MOD);
        }
      }
    }
  }
  void stop() { static_cast<void>(::write(stop_write_, "x", 1)); }

  basic_bare_epoll() {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    stop_read_ = ends[0];
    stop_write_ = ends[1];
  }
  basic_bare_epoll(const basic_bare_epoll&) = delete;
  basic_bare_epoll& operator=(const basic_bare_epoll&) = delete;
  ~basic_bare_epoll() {
    ::close(stop_read_);
    ::close(stop_write_);
  }

 private:
  static void watch(int epoll, int descriptor, int action = EPOLL_CTL_ADD) {
    ::epoll_event event{};
    event.events = EPOLLIN | (rearmed ? EPOLLET : 0U);
    event.data.fd = descriptor;
    ::epoll_ctl(epoll, action, descriptor, &event);
  }

  asio::io_context unused_;
  tcp::acceptor acceptor_{unused_, any_port()};
  int stop_read_ = -1;
  int stop_write_ = -1;
};
using bare_epoll = basic_bare_epoll<false>;
using bare_epoll_rearmed = basic_bare_epoll<true>;

struct asio_session {
  server_socket socket;
  std::array<char, read_bytes> bytes;

  static void read(std::unique_ptr<asio_session> self) {
    asio_session& one = *self;
    one.socket.async_read_some(asio::buffer(one.bytes),
                               [self = std::move(self)](asio::error_code ec, std::size_t received) mutable {
                                 if (!ec) write(std::move(self), received);
                               });
  }
  static void write(std::unique_ptr<asio_session> self, std::size_t count) {
    asio_session& one = *self;
    asio::async_write(one.socket, asio::buffer(one.bytes, count),
                      [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                        if (!ec) read(std::move(self));
                      });
  }
};

// What somebody writes who wants no more than that nothing is held while a connection is silent.
struct asio_wait_session {
  server_socket socket;

  static void read(std::unique_ptr<asio_wait_session> self) {
    asio_wait_session& one = *self;
    one.socket.async_wait(server_socket::wait_read, [self = std::move(self)](asio::error_code ec) mutable {
      std::array<std::byte, read_bytes> bytes;
      if (!ec && echo_now(self->socket.native_handle(), bytes)) read(std::move(self));
    });
  }

  // Bytes echoed, or none at the end of the connection.
  static std::optional<std::size_t> echo_now(int descriptor, std::span<std::byte> bytes) {
    const ::ssize_t received = ::recv(descriptor, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (received < 0 && errno == EAGAIN) return 0;
    if (received <= 0) return std::nullopt;
    const auto count = static_cast<std::size_t>(received);
    // A request fits into the socket's buffer.
    if (::send(descriptor, bytes.data(), count, MSG_NOSIGNAL) != received) return std::nullopt;
    return count;
  }
};

template <class Socket>
struct wait_pool_session {
  Socket socket;
  local_pool& pool;

  static void read(std::unique_ptr<wait_pool_session> self) {
    wait_pool_session& one = *self;
    one.socket.async_wait(
        Socket::wait_read, net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec) mutable {
          if (ec) return;
          buffer block = self->pool.acquire(read_bytes);
          const auto echoed = asio_wait_session::echo_now(self->socket.native_handle(), block.prepare());
          if (!echoed) return;
          block.commit(*echoed);
          block.release();
          read(std::move(self));
        }));
  }
};

template <class Socket>
struct slabbuf_session {
  Socket socket;
  local_pool& pool;

  static void read(std::unique_ptr<slabbuf_session> self) {
    slabbuf_session& one = *self;
    net::async_read_some(one.socket, one.pool,
                         net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, buffer bytes) mutable {
                           if (!ec) write(std::move(self), std::move(bytes));
                         }));
  }
  static void write(std::unique_ptr<slabbuf_session> self, buffer bytes) {
    slabbuf_session& one = *self;
    net::async_write(one.socket, std::move(bytes),
                     net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                       if (!ec) read(std::move(self));
                     }));
  }
};

// Where connections begin is all that tells the Asio servers apart.
struct asio_callback {
  static void begin(server_socket peer, local_pool&) {
    asio_session::read(std::unique_ptr<asio_session>(new asio_session{std::move(peer), {}}));
  }
};
struct asio_wait {
  static void begin(server_socket peer, local_pool&) {
    asio_wait_session::read(std::unique_ptr<asio_wait_session>(new asio_wait_session{std::move(peer)}));
  }
};
template <class Socket>
struct wait_pool {
  static void begin(server_socket peer, local_pool& pool) {
    using session = wait_pool_session<Socket>;
    session::read(std::unique_ptr<session>(new session{Socket(std::move(peer)), pool}));
  }
};
using asio_wait_pool = wait_pool<server_socket>;
using epoll_wait_pool = wait_pool<epoll_socket>;
template <class Socket>
struct basic_slabbuf_callback {
  static void begin(server_socket peer, local_pool& pool) {
    using session = slabbuf_session<Socket>;
    session::read(std::unique_ptr<session>(new session{Socket(std::move(peer)), pool}));
  }
};
using slabbuf_callback = basic_slabbuf_callback<server_socket>;
using epoll_callback = basic_slabbuf_callback<epoll_socket>;

#if defined(ASIO_HAS_CO_AWAIT)
using awaitable = asio::awaitable<void, asio::io_context::executor_type>;
inline constexpr asio::use_awaitable_t<asio::io_context::executor_type> await{};

inline awaitable echo_with_asio(server_socket socket) try {
  std::array<char, read_bytes> bytes;
  for (;;) {
    const std::size_t received = co_await socket.async_read_some(asio::buffer(bytes), await);
    co_await asio::async_write(socket, asio::buffer(bytes, received), await);
  }
} catch (const std::system_error&) {
}

inline awaitable echo_with_slabbuf(server_socket socket, local_pool& pool) try {
  for (;;) {
    buffer bytes = co_await net::async_read_some(socket, pool, await);
    co_await net::async_write(socket, std::move(bytes), await);
  }
} catch (const std::system_error&) {
}

struct asio_coroutine {
  static void begin(server_socket peer, local_pool&) {
    const auto executor = peer.get_executor();
    asio::co_spawn(executor, echo_with_asio(std::move(peer)), asio::detached);
  }
};
struct slabbuf_coroutine {
  static void begin(server_socket peer, local_pool& pool) {
    const auto executor = peer.get_executor();
    asio::co_spawn(executor, echo_with_slabbuf(std::move(peer), pool), asio::detached);
  }
};
#endif

template <class Sessions>
class asio_server {
 public:
  asio_server() { accept(); }
  tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }
  void run() { context_.run(); }
  void stop() { context_.stop(); }

 private:
  void accept() {
    acceptor_.async_accept([this](asio::error_code ec, server_socket peer) {
      if (ec) return;
      peer.set_option(tcp::no_delay(true));
      Sessions::begin(std::move(peer), pool_);
      accept();
    });
  }

  local_pool pool_;
  asio::io_context context_{1};
  server_acceptor acceptor_{context_, any_port()};
};

class example_server {
 public:
  example_server() : service_(options()) { service_.start(); }
  tcp::endpoint endpoint() const { return *service_.addresses().tcp; }
  void run() { service_.run(); }
  void stop() { service_.drain(); }

 private:
  static examples::echo_options options() {
    examples::echo_options chosen;
    chosen.addresses.tcp = any_port();
    return chosen;
  }
  examples::echo_service service_;
};

}  // namespace slabbuf::bench
