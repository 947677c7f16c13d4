// SPDX-License-Identifier: MIT
// Echoes so many requests of 64 B over 50 connections and does nothing else, its server on the second thread: run it
// twice under `valgrind --tool=callgrind --separate-threads=yes` with different counts, and the difference is what a
// request takes of the server outside the kernel. bench/run does. Unlike processor time, the number is nearly the same
// on a busy machine.
//
//     echo_instruction_count SERVER COUNT        SERVER as in net_bench's echo/
#include "net/echo_servers.hpp"
#include "net/server_cpu.hpp"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace slabbuf::bench {
namespace {

constexpr std::size_t connections = 50;

template <class Server>
int echo(std::size_t requests) {
  Server server;
  std::thread thread([&] { server.run(); });
  echo_client(server.endpoint(), connections).exchange(requests / connections, 1);
  server.stop();
  thread.join();
  return 0;
}

int run(const std::string& server, std::size_t requests) {
  if (server == "bare_epoll") return echo<bare_epoll>(requests);
  if (server == "asio_callback") return echo<asio_server<asio_callback>>(requests);
  if (server == "asio_wait") return echo<asio_server<asio_wait>>(requests);
  if (server == "asio_wait_pool") return echo<asio_server<asio_wait_pool>>(requests);
  if (server == "slabbuf_callback") return echo<asio_server<slabbuf_callback>>(requests);
  if (server == "epoll_wait_pool") return echo<asio_server<epoll_wait_pool>>(requests);
  if (server == "epoll_callback") return echo<asio_server<epoll_callback>>(requests);
  if (server == "echo_server") return echo<example_server>(requests);
  std::fprintf(stderr, "echo_instruction_count: '%s' is not a server\n", server.c_str());
  return 2;
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: echo_instruction_count SERVER COUNT\n", stderr);
    return 2;
  }
  return slabbuf::bench::run(argv[1], std::strtoul(argv[2], nullptr, 10));
}
