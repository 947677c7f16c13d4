// SPDX-License-Identifier: MIT
#include "load/reset_storm.hpp"

#include "load/client_socket.hpp"
#include "load/random_stream.hpp"

#include <fmt/format.h>

#include <stdexcept>
#include <vector>

namespace slabbuf::bench {

void run_reset_storm(const reset_options& options) {
  constexpr std::size_t sent_bytes = 1024;
  raise_open_files(options.connections);
  const deadline until = std::chrono::steady_clock::now() + options.timeout;
  asio::io_context io(1);
  std::vector<client_socket> sockets;
  sockets.reserve(options.connections);
  for (std::size_t index = 0; index < options.connections; ++index) {
    sockets.push_back(connect_client(io, options.target, index, until));
    // The echo is not read, so the server is caught at every stage of it.
    send_all(sockets.back(), random_stream(options.seed, index), sent_bytes, index, until);
  }
  for (client_socket& socket : sockets) socket.set_option(asio::socket_base::linger(true, 0));
  for (client_socket& socket : sockets) socket.close();

  try {
    client_socket fresh = connect_client(io, options.target, 0, until);
    echo_once(fresh, random_stream(options.seed, options.connections), sent_bytes, 0, until);
  } catch (const std::runtime_error& fault) {
    throw std::runtime_error(fmt::format("not served after {} resets: {}", options.connections, fault.what()));
  }
}

}  // namespace slabbuf::bench
