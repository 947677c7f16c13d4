// SPDX-License-Identifier: MIT
// One question: what does TLS cost a server, beside asio::ssl::stream with the same cipher?
//
// | name                  | the server (tls_server.cpp), a process of one thread                               |
// |-----------------------|------------------------------------------------------------------------------------|
// | tls/asio              | asio::ssl::stream, async_read_some into the session's array, asio::async_write     |
// | tls/slabbuf           | tls_stream, async_read_some from the pool, async_write; OpenSSL's memory pooled    |
// | tls/slabbuf_heap      | the same, OpenSSL's memory from malloc                                             |
// | .../connections:C/bytes:N | echoes of N bytes, one on its way on each of C connections                     |
// | tls_idle/...          | nothing: idle_bytes is the server's anonymous memory per connection after handshake |
//
// server_cpu_us is processor time of the server's process per message; the figure to compare, within one run.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "load/process_memory.hpp"

namespace slabbuf::bench {
namespace {

using tcp = asio::ip::tcp;

class server_process {
 public:
  explicit server_process(const char* kind) {
    int input[2];
    int output[2];
    if (::pipe(input) != 0 || ::pipe(output) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(input[0], STDIN_FILENO);
      ::dup2(output[1], STDOUT_FILENO);
      for (const int each : {input[0], input[1], output[0], output[1]}) ::close(each);
      ::execl(TLS_BENCH_SERVER, TLS_BENCH_SERVER, kind, nullptr);
      ::_exit(127);
    }
    ::close(input[0]);
    ::close(output[1]);
    input_ = input[1];
    std::FILE* const lines = ::fdopen(output[0], "r");
    unsigned port = 0;
    if (std::fscanf(lines, "%u", &port) != 1) std::abort();
    std::fclose(lines);
    endpoint_ = {asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)};
  }
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;
  ~server_process() {
    ::close(input_);  // which ends it
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  const tcp::endpoint& endpoint() const { return endpoint_; }

  /// Processor time so far, in microseconds.
  double cpu_us() const {
    clockid_t clock{};
    ::timespec now{};
    if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &now) != 0) std::abort();
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
  }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  tcp::endpoint endpoint_;
};

/// Blocking clients on this thread.
class tls_clients {
 public:
  tls_clients() { tls_.set_verify_mode(asio::ssl::verify_none); }

  void connect(const tcp::endpoint& endpoint, std::size_t count) {
    for (; count != 0; --count) {
      streams_.push_back(std::make_unique<stream>(context_, tls_));
      streams_.back()->lowest_layer().connect(endpoint);
      streams_.back()->lowest_layer().set_option(tcp::no_delay(true));
      streams_.back()->handshake(stream::client);
    }
  }

  void exchange(std::size_t rounds, std::size_t bytes) {
    std::string message(bytes, 'x');
    for (; rounds != 0; --rounds) {
      for (const auto& each : streams_) asio::write(*each, asio::buffer(message));
      for (const auto& each : streams_) asio::read(*each, asio::buffer(message));
    }
  }

 private:
  using stream = asio::ssl::stream<tcp::socket>;
  asio::io_context context_;
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  std::vector<std::unique_ptr<stream>> streams_;
};

void echo(benchmark::State& state, const char* kind) {
  const auto connections = static_cast<std::size_t>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  const std::size_t rounds = (bytes > 1024 ? 1000 : 5000) / connections;
  const server_process server(kind);
  tls_clients clients;
  clients.connect(server.endpoint(), connections);
  clients.exchange(rounds, bytes);
  double used_us = 0;
  for (auto _ : state) {
    const double before = server.cpu_us();
    clients.exchange(rounds, bytes);
    used_us += server.cpu_us() - before;
  }
  state.counters["server_cpu_us"] =
      used_us / (static_cast<double>(state.iterations()) * static_cast<double>(rounds * connections));
}

// The difference between few and many, so that what a server needs once is in neither.
void idle(benchmark::State& state, const char* kind) {
  constexpr std::size_t few = 100;
  constexpr std::size_t many = 800;
  for (auto _ : state) {
    const server_process server(kind);
    tls_clients clients;
    const auto memory = [&server] {
      return static_cast<double>(
          read_settled_memory(server.pid(), std::chrono::steady_clock::now() + std::chrono::seconds(5))
              .anonymous_bytes);
    };
    clients.connect(server.endpoint(), few);
    clients.exchange(1, 64);
    const double before = memory();
    clients.connect(server.endpoint(), many - few);
    clients.exchange(1, 64);
    state.counters["idle_bytes"] = (memory() - before) / static_cast<double>(many - few);
  }
}

const bool added = [] {
  for (const char* const kind : {"asio", "slabbuf", "slabbuf_heap"}) {
    benchmark::RegisterBenchmark((std::string("tls/") + kind).c_str(), echo, kind)
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
  return true;
}();

}  // namespace
}  // namespace slabbuf::bench
