// SPDX-License-Identifier: MIT
// What the tests of file_server have in common: a directory, the program that serves it on free ports.
// Threads: one.
// Lifetime: a server that still runs when its object dies is killed.
#pragma once

#include <gtest/gtest.h>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/child_process.hpp"
#include "support/http_client.hpp"
#include "support/listening_line.hpp"
#include "support/temporary_files.hpp"

namespace slabbuf::support {

/// Serves `root` on a free port. As root it stays root, unless `options` name another --user: the directory is its own.
/// `environment` is "NAME=VALUE", for it alone.
class file_server {
 public:
  explicit file_server(const std::string& root, std::vector<std::string> options = {},
                       std::optional<child_process::limited> resource = std::nullopt,
                       const std::vector<std::string>& environment = {})
      : child_(
            [&] {
              std::vector<std::string> all;
              if (!environment.empty()) all.emplace_back("/usr/bin/env");
              all.insert(all.end(), environment.begin(), environment.end());
              all.insert(all.end(), {FILE_SERVER, "--root", root, "--http", "127.0.0.1:0", "--host", "test"});
              if (std::find(options.begin(), options.end(), "--user") == options.end())
                all.insert(all.end(), {"--user", "root"});
              all.insert(all.end(), options.begin(), options.end());
              return all;
            }(),
            resource),
        port_(read_port(child_, "http")) {}

  asio::ip::tcp::endpoint endpoint() const { return {asio::ip::address_v4::loopback(), port_}; }
  child_process& child() { return child_; }
  http_client connect() const { return http_client(endpoint()); }

  /// The answer to one request on a connection of its own.
  http_answer ask(const std::string& request_line, const std::string& fields = "") const {
    return http_client(endpoint()).ask(request_line, fields);
  }
  http_answer put(const std::string& path, const std::string& body, const std::string& fields = "") const {
    http_client client(endpoint());
    client.send("PUT " + path + " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
                fields + "\r\n" + body);
    return client.receive();
  }

  /// Asks it to end; it must end well, with all blocks back.
  std::string stop() {
    child_.signal(SIGTERM);
    EXPECT_EQ(child_.wait(), 0);
    std::string log = child_.standard_error();
    EXPECT_NE(log.find(" 0 in use"), std::string::npos) << log;
    return log;
  }

 private:
  child_process child_;
  std::uint16_t port_;
};

/// Bytes that are nowhere the same.
inline std::string varied_bytes(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t index = 0; index < size; ++index) text[index] = static_cast<char>(index * 2654435761U >> 11);
  return text;
}

class FileServer : public ::testing::Test {
 protected:
  temporary_files files;
};

}  // namespace slabbuf::support
