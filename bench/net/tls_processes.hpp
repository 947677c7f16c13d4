// SPDX-License-Identifier: MIT
// The processes of tls_bench.cpp and tls_send_bench.cpp: servers, ours and nginx, and blocking clients.
// Threads: the caller's.
// Lifetime: a server ends with its object.
#pragma once

#include <sys/types.h>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace slabbuf::bench {

using tls_client = asio::ssl::stream<asio::ip::tcp::socket>;

/// A new directory with a `document` of so many bytes. Returns its path.
std::string make_document(std::size_t bytes);

/// TLS 1.3 with TLS_AES_256_GCM_SHA384 on a port of 127.0.0.1, one thread or process.
class server_process {
 public:
  /// tls_bench_server KIND, whose words are separated by blanks. Aborts when it does not start.
  explicit server_process(const std::string& kind);

  /// nginx with a document of `bytes` at /document; null where nginx is not there. Files are in a directory of its
  /// own. Aborts when it is there and does not start.
  static std::unique_ptr<server_process> nginx(std::size_t bytes);

  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;
  ~server_process();

  const asio::ip::tcp::endpoint& endpoint() const { return endpoint_; }

  /// Processor time so far, in microseconds.
  double cpu_us() const;

  /// Anonymous memory, when it has settled, in bytes.
  double memory_bytes() const;

 private:
  server_process() = default;
  void start(const std::vector<std::string>& command);

  ::pid_t pid_ = -1;
  int input_ = -1;  // closing it ends ours
  asio::ip::tcp::endpoint endpoint_;
  std::string directory_;
};

/// Blocking clients on this thread.
class tls_clients {
 public:
  tls_clients() { tls_.set_verify_mode(asio::ssl::verify_none); }

  void connect(const asio::ip::tcp::endpoint& endpoint, std::size_t count);

  /// Each sends a message and gets it back, `rounds` times.
  void exchange(std::size_t rounds, std::size_t bytes);

  /// The first `count` of them fetch /document, whose `bytes` must come.
  void fetch(std::size_t count, std::size_t bytes);

 private:
  void fetch(tls_client& from, std::size_t bytes);

  asio::io_context context_;
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  std::vector<std::unique_ptr<tls_client>> streams_;
  std::vector<char> received_;
};

}  // namespace slabbuf::bench
