// SPDX-License-Identifier: MIT
// What does TLS cost a server, beside asio::ssl::stream and nginx with the same cipher?
//
// | name                  | the server (tls_server.cpp), a process of one thread                               |
// |-----------------------|------------------------------------------------------------------------------------|
// | tls/asio              | asio::ssl::stream, async_read_some into the session's array, asio::async_write     |
// | tls/slabbuf           | tls_stream, async_read_some from the pool, async_write; OpenSSL's memory pooled    |
// | tls/slabbuf_epoll     | the same over an epoll_socket                                                      |
// | tls/slabbuf_heap      | tls/slabbuf, OpenSSL's memory from malloc                                          |
// | .../connections:C/bytes:N | echoes of N bytes, one on its way on each of C connections                     |
// | tls_idle/...          | nothing: idle_bytes is the server's anonymous memory per connection after handshake |
// |                       | and one echo; of nginx, after one small document                                   |
// | tls_send/...          | a document of 64 MiB from the page cache, 16 times, on one connection              |
//
// server_cpu_us is processor time of the server's process per message, cpu_s_per_gib for what was sent; figures to
// compare, within one run.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

#include "net/tls_processes.hpp"

namespace slabbuf::bench {
namespace {

void echo_tls(benchmark::State& state, const char* kind) {
  const auto connections = static_cast<std::size_t>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  const std::size_t rounds = (bytes > 1024 ? 1000 : 5000) / connections;
  const server_process server(kind);
  tls_clients clients;
  clients.connect(server.endpoint(), connections);
  clients.exchange(rounds, bytes);
  double used_us = 0;
  for ([[maybe_unused]] auto _ : state) {
    const double before = server.cpu_us();
    clients.exchange(rounds, bytes);
    used_us += server.cpu_us() - before;
  }
  state.counters["server_cpu_us"] =
      used_us / (static_cast<double>(state.iterations()) * static_cast<double>(rounds * connections));
}

// The difference between few and many, so that what a server needs once is in neither.
template <class Serve>
void measure_idle(benchmark::State& state, const server_process& server, Serve serve) {
  constexpr std::size_t few = 100;
  constexpr std::size_t many = 800;
  for ([[maybe_unused]] auto _ : state) {
    tls_clients clients;
    clients.connect(server.endpoint(), few);
    serve(clients, few);
    const double before = server.memory_bytes();
    clients.connect(server.endpoint(), many - few);
    serve(clients, many);
    state.counters["idle_bytes"] = (server.memory_bytes() - before) / static_cast<double>(many - few);
  }
}

void idle(benchmark::State& state, const char* kind) {
  measure_idle(state, server_process(kind), [](tls_clients& clients, std::size_t) { clients.exchange(1, 64); });
}

void idle_nginx(benchmark::State& state) {
  constexpr std::size_t bytes = 64;
  const std::unique_ptr<server_process> server = server_process::nginx(bytes);
  if (server == nullptr) return state.SkipWithError("nginx is not there (docker/install unpack)");
  measure_idle(state, *server, [](tls_clients& clients, std::size_t count) { clients.fetch(count, bytes); });
}

constexpr std::size_t document_bytes = std::size_t{64} << 20;
constexpr std::size_t documents = 16;

void measure_send(benchmark::State& state, const server_process& server) {
  tls_clients clients;
  clients.connect(server.endpoint(), 1);
  clients.fetch(1, document_bytes);
  double used_us = 0;
  for ([[maybe_unused]] auto _ : state) {
    const double before = server.cpu_us();
    for (std::size_t each = 0; each < documents; ++each) clients.fetch(1, document_bytes);
    used_us += server.cpu_us() - before;
  }
  const double gib = static_cast<double>(documents * document_bytes) / static_cast<double>(1 << 30);
  state.counters["cpu_s_per_gib"] = used_us * 1e-6 / (static_cast<double>(state.iterations()) * gib);
}

void send(benchmark::State& state, const char* kind) {
  const std::string directory = make_document(document_bytes);
  measure_send(state, server_process(std::string(kind) + " " + directory + "/document"));
  std::filesystem::remove_all(directory);
}

void send_nginx(benchmark::State& state) {
  const std::unique_ptr<server_process> server = server_process::nginx(document_bytes);
  if (server == nullptr) return state.SkipWithError("nginx is not there (docker/install unpack)");
  measure_send(state, *server);
}

const bool tls_added = [] {
  for (const char* const kind : {"asio", "slabbuf", "slabbuf_epoll", "slabbuf_heap"}) {
    benchmark::RegisterBenchmark((std::string("tls/") + kind).c_str(), echo_tls, kind)
        ->ArgNames({"connections", "bytes"})
        ->Args({50, 64})
        ->Args({500, 64})
        ->Args({50, 16384})
        ->Args({500, 16384})
        ->Args({50, 262144})
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark((std::string("tls_idle/") + kind).c_str(), idle, kind)
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("tls_idle/slabbuf_sha256", idle, "slabbuf_sha256")
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("tls_idle/nginx", idle_nginx)->Iterations(1)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("tls_send/slabbuf", send, "slabbuf_send")->Iterations(1)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("tls_send/nginx", send_nginx)->Iterations(1)->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
}  // namespace slabbuf::bench
