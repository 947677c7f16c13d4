// SPDX-License-Identifier: MIT
// One question: what does an echoed request cost the server, beside the bare system calls and beside Asio
// by itself?
//
// | name                    | the server, one thread                                                      |
// |-------------------------|-----------------------------------------------------------------------------|
// | echo/bare_epoll         | epoll_wait, recv, send: the least there is                                  |
// | echo/asio_callback      | async_read_some into the session's array, async_write                       |
// | echo/asio_coroutine     | the same with use_awaitable                                                 |
// | echo/slabbuf_callback   | net::async_read_some, net::async_write, callbacks                           |
// | echo/slabbuf_coroutine  | the same with use_awaitable                                                 |
// | echo/echo_server        | the example server: budget, limits, deadlines and all                       |
// | .../connections:C/pipelined:D | C connections, D requests of 64 B on their way on each                |
//
// server_cpu_us is processor time of the server's thread per request, while connections stand; the figure
// to compare, and only within one run.
#include "net/server_cpu.hpp"

#include "echo/echo_service.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>

namespace slabbuf::bench {
namespace {

using tcp = asio::ip::tcp;
using server_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using server_acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

constexpr std::size_t read_bytes = net::read_bytes_default;

tcp::endpoint any_port() { return {asio::ip::address_v4::loopback(), 0}; }

// Level-triggered, non-blocking; a connection is closed by its end of file.
class bare_epoll {
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
          continue;
        }
        const ::ssize_t received = ::recv(descriptor, bytes.data(), bytes.size(), 0);
        if (received <= 0) {
          ::close(descriptor);
        } else {
          // A request fits into the socket's buffer.
          static_cast<void>(::send(descriptor, bytes.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL));
        }
      }
    }
  }
  void stop() { static_cast<void>(::write(stop_write_, "x", 1)); }

  bare_epoll() {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    stop_read_ = ends[0];
    stop_write_ = ends[1];
  }
  bare_epoll(const bare_epoll&) = delete;
  bare_epoll& operator=(const bare_epoll&) = delete;
  ~bare_epoll() {
    ::close(stop_read_);
    ::close(stop_write_);
  }

 private:
  static void watch(int epoll, int descriptor) {
    ::epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
  }

  asio::io_context unused_;
  tcp::acceptor acceptor_{unused_, any_port()};
  int stop_read_ = -1;
  int stop_write_ = -1;
};

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

struct slabbuf_session {
  server_socket socket;
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
struct slabbuf_callback {
  static void begin(server_socket peer, local_pool& pool) {
    slabbuf_session::read(std::unique_ptr<slabbuf_session>(new slabbuf_session{std::move(peer), pool}));
  }
};

#if defined(ASIO_HAS_CO_AWAIT)
using awaitable = asio::awaitable<void, asio::io_context::executor_type>;
constexpr asio::use_awaitable_t<asio::io_context::executor_type> await{};

awaitable echo_with_asio(server_socket socket) try {
  std::array<char, read_bytes> bytes;
  for (;;) {
    const std::size_t received = co_await socket.async_read_some(asio::buffer(bytes), await);
    co_await asio::async_write(socket, asio::buffer(bytes, received), await);
  }
} catch (const std::system_error&) {
}

awaitable echo_with_slabbuf(server_socket socket, local_pool& pool) try {
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

// As many requests whatever the shape.
constexpr std::size_t requests_per_iteration = 8'000;

template <class Server>
void echo(benchmark::State& state) {
  const auto connections = static_cast<std::size_t>(state.range(0));
  const auto depth = static_cast<std::size_t>(state.range(1));
  const std::size_t rounds = requests_per_iteration / connections / depth;
  Server server;
  std::thread thread([&] { server.run(); });
  double used_us = 0;
  {
    echo_client client(server.endpoint(), connections);
    client.exchange(rounds / 10 + 1, depth);
    for (auto _ : state) {
      const double before = cpu_us(thread);
      client.exchange(rounds, depth);
      used_us += cpu_us(thread) - before;
    }
  }
  server.stop();
  thread.join();
  state.counters["server_cpu_us"] =
      used_us / (static_cast<double>(state.iterations()) * static_cast<double>(rounds * connections * depth));
}

template <class Server>
void add(const char* name) {
  benchmark::RegisterBenchmark(name, echo<Server>)
      ->ArgNames({"connections", "pipelined"})
      ->Args({50, 1})
      ->Args({500, 1})
      ->Args({50, 16})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

const bool added = [] {
  add<bare_epoll>("echo/bare_epoll");
  add<asio_server<asio_callback>>("echo/asio_callback");
  add<asio_server<slabbuf_callback>>("echo/slabbuf_callback");
#if defined(ASIO_HAS_CO_AWAIT)
  add<asio_server<asio_coroutine>>("echo/asio_coroutine");
  add<asio_server<slabbuf_coroutine>>("echo/slabbuf_coroutine");
#endif
  add<example_server>("echo/echo_server");
  return true;
}();

}  // namespace
}  // namespace slabbuf::bench
