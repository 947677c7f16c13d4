// SPDX-License-Identifier: MIT
#include "load/idle_probe.hpp"

#include "load/client_socket.hpp"
#include "load/random_stream.hpp"

#include <fmt/format.h>

#include <poll.h>

#include <stdexcept>
#include <thread>
#include <vector>

namespace slabbuf::bench {
namespace {

constexpr std::size_t probe_bytes = 64;

// Most time a reading of the server's memory may take to settle.
constexpr std::chrono::seconds settle_time_max{5};

memory_reading settled_memory(pid_t pid, deadline until) {
  return read_settled_memory(pid, std::min(until, std::chrono::steady_clock::now() + settle_time_max));
}

// An idle connection has nothing to read, not even its end.
void check_idle(client_socket& socket, std::size_t index) {
  pollfd waiting{socket.native_handle(), POLLIN, 0};
  if (poll(&waiting, 1, 0) != 0) {
    throw std::runtime_error(fmt::format("connection {} did not stay open and silent", index));
  }
}

}  // namespace

idle_result run_idle_probe(const idle_options& options) {
  raise_open_files(options.connections);
  read_process_memory(options.server_pid);  // a wrong pid is said before any work is done
  const deadline until = std::chrono::steady_clock::now() + options.timeout;
  asio::io_context io(1);
  {
    client_socket warm_up = connect_client(io, options.target, 0, until);
    echo_once(warm_up, random_stream(options.seed, options.connections), probe_bytes, 0, until);
  }
  idle_result result;
  result.before = settled_memory(options.server_pid, until);

  std::vector<client_socket> sockets;
  sockets.reserve(options.connections);
  for (std::size_t index = 0; index < options.connections; ++index) {
    sockets.push_back(connect_client(io, options.target, index, until));
    echo_once(sockets.back(), random_stream(options.seed, index), probe_bytes, index, until);
  }
  result.after = settled_memory(options.server_pid, until);
  std::this_thread::sleep_for(options.hold);
  for (std::size_t index = 0; index < sockets.size(); ++index) check_idle(sockets[index], index);

  const double growth_bytes =
      static_cast<double>(result.after.anonymous_bytes) - static_cast<double>(result.before.anonymous_bytes);
  result.anonymous_bytes_per_connection = growth_bytes / static_cast<double>(options.connections);
  return result;
}

}  // namespace slabbuf::bench
