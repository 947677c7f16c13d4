// SPDX-License-Identifier: MIT
// What the tests of the echo server have in common: the program on a free port, clients that compare what comes back.
// Threads: one.
// Lifetime: a server that still runs when its object dies is killed.
#pragma once

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "support/child_process.hpp"
#include "support/listening_line.hpp"

namespace slabbuf::support {

inline std::vector<std::string> echo_server_command(std::vector<std::string> options) {
  options.insert(options.begin(), ECHO_SERVER);
  return options;
}

/// A server on a free port.
class echo_server {
 public:
  explicit echo_server(std::initializer_list<std::string> options = {},
                       std::optional<child_process::limited> resource = std::nullopt)
      : echo_server("tcp", options, resource) {}
  echo_server(const std::string& transport, const std::vector<std::string>& options,
              std::optional<child_process::limited> resource = std::nullopt)
      : child_(
            [&] {
              std::vector<std::string> all{"--" + transport, "127.0.0.1:0"};
              all.insert(all.end(), options.begin(), options.end());
              return echo_server_command(all);
            }(),
            resource),
        port_(read_port(child_, transport)) {}

  asio::ip::tcp::endpoint endpoint() const { return {asio::ip::address_v4::loopback(), port_}; }
  child_process& child() { return child_; }

  /// Asks it to end; it must end well.
  void stop(int signal = SIGTERM) {
    child_.signal(signal);
    EXPECT_EQ(child_.wait(), 0) << child_.standard_error();
    EXPECT_NE(child_.standard_error().find(" 0 in use"), std::string::npos) << child_.standard_error();
  }

 private:
  child_process child_;
  std::uint16_t port_;
};

template <class Stream>
void expect_echo(Stream& client, const std::string& text) {
  asio::write(client, asio::buffer(text));
  std::string answer(text.size(), '\0');
  asio::error_code ec;
  asio::read(client, asio::buffer(answer), ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_EQ(answer, text);
}

/// Reads to the end of the stream, which must come.
template <class Stream>
std::string read_to_end(Stream& client) {
  std::string all;
  asio::error_code ec;
  asio::read(client, asio::dynamic_buffer(all), ec);
  EXPECT_EQ(ec, asio::error::eof);
  return all;
}

inline std::string long_text(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t index = 0; index < size; ++index) text[index] = static_cast<char>(index * 2654435761U >> 11);
  return text;
}

class EchoServer : public ::testing::Test {
 protected:
  asio::ip::tcp::socket connect(const echo_server& server) {
    asio::ip::tcp::socket client(context);
    client.connect(server.endpoint());
    return client;
  }

  asio::io_context context;
};

/// That the program refuses these with one line, before it listens.
inline void expect_refusal(const std::vector<std::string>& options, int status, const std::string& part = "") {
  child_process child(echo_server_command(options));
  EXPECT_EQ(child.wait(), status) << ::testing::PrintToString(options);
  const std::string message = child.standard_error();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_EQ(message.find("echo_server: "), 0U) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_EQ(child.read_line(), "") << "nothing on standard output";
}

}  // namespace slabbuf::support
