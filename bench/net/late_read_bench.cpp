// SPDX-License-Identifier: MIT
// One question: what does it cost to take memory for a read when bytes are there, instead of before, and what is
// saved by it?
//
// | counter         | a server thread that reads requests of 64 B on many connections, and answers nothing          |
// |-----------------|-----------------------------------------------------------------------------------------------|
// | bare_*          | epoll_wait, recv into one array                                                                 |
// | asio_*          | async_read_some into 16 KiB that the connection holds while it waits                            |
// | asio_wait_*     | async_wait, then recv by hand into one array                                                    |
// | slabbuf_*       | net::async_read_some: waits, then takes a block of 16 KiB; the 64 B move to one that fits       |
// | slabbuf_16KiB_* | the same with a size of 16 KiB, which is what is delivered then                                 |
//
// *_us is processor time of the server's thread per request. *_idle_B is what each connection holds while all are idle,
// beside its socket: growth of the heap and of the pool's buffers in use, so the state of the operation that waits is
// in it. `ratio` is slabbuf_us to asio_us, `bare` slabbuf_us to bare_us. A round is one request on each connection: all
// are sent, then the server reads them, on the same thread, so that nobody sleeps and no wake-up is in the figures. The
// servers take turns of one round, so that a slow moment of the machine hits all alike.
#include "net/loopback.hpp"
#include "net/memory_held.hpp"
#include "net/server_cpu.hpp"

#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

constexpr std::size_t read_bytes = net::read_bytes_default;

// A server whose connections wait for requests from begin() on.
class reader {
 public:
  explicit reader(std::size_t connections) : connections_(connect(context_, connections)) {}
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;
  virtual ~reader() = default;

  void begin() {
    const double before = held_bytes();
    wait_for_requests();
    idle_bytes_ = (held_bytes() - before) / static_cast<double>(connections_.size());
  }
  void take_turn() {
    constexpr std::array<std::byte, message_bytes> request{};
    for (connection& each : connections_) each.client.send(asio::buffer(request));
    left_ = connections_.size();
    const double before_us = cpu_us();
    read_requests();
    cpu_us_ += cpu_us() - before_us;
    ++turns_;
    if (left_ != 0) throw std::runtime_error("a request was lost");
    answer();
  }
  double us_per_request() const { return cpu_us_ / static_cast<double>(turns_ * connections_.size()); }
  double idle_bytes() const { return idle_bytes_; }

 protected:
  virtual void wait_for_requests() = 0;
  virtual void read_requests() = 0;
  // Whether it was the last one of the round.
  bool on_request(std::size_t bytes) { return bytes == message_bytes && --left_ == 0; }

  local_pool pool_;  // outlives the operations in the context
  asio::io_context context_{1};
  std::vector<connection> connections_;

 private:
  // By a server that never answers, each read would send the acknowledgement that else an answer carries.
  void answer() {
    std::byte one{};
    for (connection& each : connections_) {
      ::send(each.server.native_handle(), &one, 1, MSG_NOSIGNAL);
      ::recv(each.client.native_handle(), &one, 1, 0);
    }
  }
  double held_bytes() const { return static_cast<double>(heap_bytes_held() + pool_.stats().in_use_bytes); }

  std::size_t left_ = 0;
  std::size_t turns_ = 0;
  double cpu_us_ = 0;
  double idle_bytes_ = 0;
};

class bare_reader final : public reader {
 public:
  using reader::reader;
  ~bare_reader() override { ::close(poller_); }

 private:
  void wait_for_requests() override {
    for (connection& each : connections_) {
      ::epoll_event event{};
      event.events = EPOLLIN;
      event.data.fd = each.server.native_handle();
      ::epoll_ctl(poller_, EPOLL_CTL_ADD, event.data.fd, &event);
    }
  }
  void read_requests() override {
    std::array<::epoll_event, 128> events;  // as Asio has
    for (bool done = false; !done;) {
      const int count = ::epoll_wait(poller_, events.data(), static_cast<int>(events.size()), -1);
      for (const ::epoll_event& each : std::span(events.data(), static_cast<std::size_t>(count))) {
        done = on_request(static_cast<std::size_t>(::recv(each.data.fd, bytes_.data(), bytes_.size(), MSG_DONTWAIT)));
      }
    }
  }

  int poller_ = ::epoll_create1(EPOLL_CLOEXEC);
  std::array<std::byte, read_bytes> bytes_;
};

class context_reader : public reader {
 public:
  using reader::reader;

 protected:
  void on_read(std::size_t bytes) {
    if (on_request(bytes)) context_.stop();
  }

 private:
  void read_requests() override {
    context_.restart();
    context_.run();
  }
};

class asio_reader final : public context_reader {
 public:
  using context_reader::context_reader;

 private:
  struct session {
    asio_reader& of;
    server_socket& socket;
    std::array<std::byte, read_bytes> bytes;

    static void read(std::unique_ptr<session> self) {
      session& one = *self;
      one.socket.async_read_some(asio::buffer(one.bytes),
                                 [self = std::move(self)](asio::error_code ec, std::size_t count) mutable {
                                   if (ec) return;
                                   self->of.on_read(count);
                                   read(std::move(self));
                                 });
    }
  };

  void wait_for_requests() override {
    for (connection& each : connections_) session::read(std::unique_ptr<session>(new session{*this, each.server, {}}));
  }
};

class asio_wait_reader final : public context_reader {
 public:
  using context_reader::context_reader;

 private:
  struct session {
    asio_wait_reader& of;
    server_socket& socket;

    static void read(std::unique_ptr<session> self) {
      session& one = *self;
      one.socket.async_wait(server_socket::wait_read, [self = std::move(self)](asio::error_code ec) mutable {
        if (ec) return;
        std::array<std::byte, read_bytes>& bytes = self->of.bytes_;
        self->of.on_read(
            static_cast<std::size_t>(::recv(self->socket.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT)));
        read(std::move(self));
      });
    }
  };

  void wait_for_requests() override {
    for (connection& each : connections_) session::read(std::unique_ptr<session>(new session{*this, each.server}));
  }

  std::array<std::byte, read_bytes> bytes_;
};

template <bool fits>
class slabbuf_reader final : public context_reader {
 public:
  using context_reader::context_reader;

 private:
  struct session {
    slabbuf_reader& of;
    server_socket& socket;

    static void read(std::unique_ptr<session> self) {
      session& one = *self;
      auto then =
          net::bind_pool(one.of.pool_, [self = std::move(self)](asio::error_code ec, const buffer& bytes) mutable {
            if (ec) return;
            self->of.on_read(bytes.size());
            read(std::move(self));
          });
      if constexpr (fits) {
        net::async_read_some(one.socket, one.of.pool_, std::move(then));
      } else {
        net::async_read_some(one.socket, one.of.pool_, std::move(then), read_bytes);
      }
    }
  };

  void wait_for_requests() override {
    for (connection& each : connections_) session::read(std::unique_ptr<session>(new session{*this, each.server}));
  }
};

void late_read(benchmark::State& state) try {
  const auto connections = static_cast<std::size_t>(state.range(0));
  allow_descriptors(connections * 2 * 5 + 100);
  bare_reader bare(connections);
  asio_reader stock(connections);
  asio_wait_reader stock_wait(connections);
  slabbuf_reader<true> ours(connections);
  slabbuf_reader<false> whole(connections);
  const std::array<std::pair<const char*, reader*>, 5> all{
      {{"bare", &bare}, {"asio", &stock}, {"asio_wait", &stock_wait}, {"slabbuf", &ours}, {"slabbuf_16KiB", &whole}}};
  for (const auto& each : all) each.second->begin();
  for ([[maybe_unused]] auto _ : state) {
    for (const auto& each : all) each.second->take_turn();
  }
  for (const auto& [name, each] : all) {
    state.counters[std::string(name) + "_us"] = each->us_per_request();
    state.counters[std::string(name) + "_idle_B"] = each->idle_bytes();
  }
  state.counters["ratio"] = ours.us_per_request() / stock.us_per_request();
  state.counters["moving"] = ours.us_per_request() / whole.us_per_request();
  state.counters["bare"] = ours.us_per_request() / bare.us_per_request();
} catch (const std::runtime_error& fault) {
  state.SkipWithError(fault.what());
}
BENCHMARK(late_read)
    ->Name("late_read/64B")
    ->ArgName("connections")
    ->Arg(50)
    ->Arg(500)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf::bench
