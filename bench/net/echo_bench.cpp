// SPDX-License-Identifier: MIT
// One question: what does an echoed request cost the server, beside the bare system calls and beside Asio
// by itself? The servers: echo_servers.hpp.
//
//     echo/SERVER/connections:C/pipelined:D      C connections, D requests of 64 B on their way on each
//
// server_cpu_us is processor time of the server's thread per request, while connections stand; the figure
// to compare, and only within one run.
#include "net/echo_servers.hpp"
#include "net/server_cpu.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <thread>

namespace slabbuf::bench {
namespace {

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
    for ([[maybe_unused]] auto _ : state) {
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
      ->Args({1, 1})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

const bool echo_added = [] {
  add<bare_epoll>("echo/bare_epoll");
  add<bare_epoll_rearmed>("echo/bare_epoll_rearmed");
  add<asio_server<asio_callback>>("echo/asio_callback");
  add<asio_server<asio_wait>>("echo/asio_wait");
  add<asio_server<asio_wait_pool>>("echo/asio_wait_pool");
  add<asio_server<slabbuf_callback>>("echo/slabbuf_callback");
  add<asio_server<epoll_wait_pool>>("echo/epoll_wait_pool");
  add<asio_server<epoll_callback>>("echo/epoll_callback");
#if defined(ASIO_HAS_CO_AWAIT)
  add<asio_server<asio_coroutine>>("echo/asio_coroutine");
  add<asio_server<slabbuf_coroutine>>("echo/slabbuf_coroutine");
#endif
  add<example_server>("echo/echo_server");
  return true;
}();

}  // namespace
}  // namespace slabbuf::bench
