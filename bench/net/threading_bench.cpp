// SPDX-License-Identifier: MIT
// One question: does an echo server do better with one io_context per thread, each with a listening
// socket of its own (SO_REUSEPORT), or with one io_context that all threads run?
//
// | name                              | what it measures                                              |
// |-----------------------------------|---------------------------------------------------------------|
// | threading/per_thread/threads:N    | one io_context a thread, told that it has one thread          |
// | threading/shared/threads:N        | one io_context, run by N threads                              |
// | .../pipelined:1                   | 16 requests of 64 B on their way per connection, else one     |
//
// Both servers are the same session over the same pool. Per iteration, 50 connections exchange 200
// batches each with a blocking client. server_cpu_us is processor time of the server's threads per
// request, the figure to compare: wall time on a busy machine says little.
#include "net/server_cpu.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;
using accepted_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using listening_socket = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

constexpr std::size_t connections = 50;
constexpr std::size_t batches = 200;

struct session {
  accepted_socket socket;
  concurrent_pool& pool;

  static void read(std::unique_ptr<session> self) {
    session& one = *self;
    net::async_read_some(one.socket, one.pool,
                         net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, buffer bytes) mutable {
                           if (!ec) write(std::move(self), std::move(bytes));
                         }));
  }
  static void write(std::unique_ptr<session> self, buffer bytes) {
    session& one = *self;
    net::async_write(one.socket, std::move(bytes),
                     net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                       if (!ec) read(std::move(self));
                     }));
  }
};

// A context with a listening socket. Sessions end with their clients, the context with the sessions.
struct listener {
  listener(concurrent_pool& buffers, int concurrency, const tcp::endpoint& endpoint)
      : pool(buffers), context(concurrency) {
    acceptor.open(endpoint.protocol());
    acceptor.set_option(asio::socket_base::reuse_address(true));
    acceptor.set_option(reuse_port(true));
    acceptor.bind(endpoint);
    acceptor.listen();
    accept();
  }

  void accept() {
    acceptor.async_accept([this](asio::error_code ec, accepted_socket peer) {
      if (ec) return;
      peer.set_option(tcp::no_delay(true));
      session::read(std::unique_ptr<session>(new session{std::move(peer), pool}));
      accept();
    });
  }

  concurrent_pool& pool;
  asio::io_context context;
  listening_socket acceptor{context};
};

class server {
 public:
  server(std::size_t contexts, std::size_t threads_per_context) {
    tcp::endpoint endpoint(asio::ip::address_v4::loopback(), 0);
    for (std::size_t index = 0; index < contexts; ++index) {
      listeners_.push_back(std::make_unique<listener>(pool_, static_cast<int>(threads_per_context), endpoint));
      endpoint = listeners_.front()->acceptor.local_endpoint();
    }
    for (const auto& each : listeners_) {
      for (std::size_t index = 0; index < threads_per_context; ++index) {
        threads_.emplace_back([this, context = &each->context] {
          context->run();
          cpu_us_.fetch_add(bench::cpu_us());
        });
      }
    }
  }

  tcp::endpoint endpoint() const { return listeners_.front()->acceptor.local_endpoint(); }

  // Processor time of all its threads, from start to end. Ends when the clients have gone.
  double finish() {
    for (const auto& each : listeners_) {
      asio::post(each->context, [acceptor = &each->acceptor] { acceptor->close(); });
    }
    threads_.clear();
    return cpu_us_;
  }

 private:
  concurrent_pool pool_;
  std::atomic<double> cpu_us_{0};
  std::vector<std::unique_ptr<listener>> listeners_;
  std::vector<std::jthread> threads_;
};

void run(benchmark::State& state, std::size_t contexts, std::size_t threads_per_context) {
  const std::size_t depth = state.range(0) != 0 ? 16 : 1;
  double cpu_us = 0;
  for ([[maybe_unused]] auto _ : state) {
    server subject(contexts, threads_per_context);
    bench::echo_client(subject.endpoint(), connections).exchange(batches, depth);
    cpu_us += subject.finish();
  }
  const double requests = static_cast<double>(state.iterations()) * static_cast<double>(connections * batches * depth);
  state.counters["server_cpu_us"] = cpu_us / requests;
}

void per_thread(benchmark::State& state) { run(state, 2, 1); }
void shared(benchmark::State& state) { run(state, 1, 2); }

BENCHMARK(per_thread)
    ->Name("threading/per_thread/threads:2")
    ->ArgName("pipelined")
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(shared)
    ->Name("threading/shared/threads:2")
    ->ArgName("pipelined")
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf
