// SPDX-License-Identifier: MIT
// A client of the simplest kind: sends bytes as they are, reads answers, says what came.
// Threads: one.
// Lifetime: closes its socket when it dies.
#pragma once

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace slabbuf::support {

struct http_answer {
  int status = 0;  // 0: the connection ended before it
  std::string head;
  std::string body;

  /// The value of the first field of this name, in lower case; empty when there is none.
  std::string field(const std::string& name) const {
    std::string lower = head;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char each) { return static_cast<char>(std::tolower(each)); });
    const std::size_t at = lower.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

/// A receive that has a time limit ends early (EINTR, signal(7)) where the thread has something else to do: work of an
/// io_uring, say. Then it goes on.
class http_client {
 public:
  explicit http_client(const asio::ip::tcp::endpoint& server) : socket_(context_) {
    socket_.connect(server);
    // Whatever does not come is a failure, not a test that hangs.
    const ::timeval limit{60, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }

  void send(std::string_view bytes) { asio::write(socket_, asio::buffer(bytes.data(), bytes.size())); }

  /// The next answer. Without a body, if it is one to HEAD.
  http_answer receive(bool to_head = false) {
    http_answer answer;
    asio::error_code ec;
    std::size_t head = 0;
    do head = asio::read_until(socket_, asio::dynamic_buffer(unread_), "\r\n\r\n", ec);
    while (ec == asio::error::interrupted);
    if (ec) return answer;
    answer.head = unread_.substr(0, head);
    unread_.erase(0, head);
    answer.status = std::stoi(answer.head.substr(9, 3));
    const std::string length = answer.field("content-length");
    if (to_head || length.empty() || answer.status == 304) return answer;
    const std::size_t bytes = std::stoull(length);
    while (unread_.size() < bytes) {
      const std::size_t missing = bytes - unread_.size();
      asio::read(socket_, asio::dynamic_buffer(unread_), asio::transfer_exactly(missing), ec);
      if (ec && ec != asio::error::interrupted) throw std::runtime_error("a body ended early: " + ec.message());
    }
    answer.body = unread_.substr(0, bytes);
    unread_.erase(0, bytes);
    return answer;
  }

  /// Sends `request`, completed by a Host field and the blank line, and receives the answer.
  http_answer ask(const std::string& request_line, const std::string& fields = "") {
    send(request_line + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n");
    return receive(request_line.compare(0, 5, "HEAD ") == 0);
  }

  /// Whether the server closes the connection, without another byte.
  bool ends() {
    char byte = 0;
    asio::error_code ec;
    if (!unread_.empty()) return false;
    std::size_t received = 0;
    do received = asio::read(socket_, asio::buffer(&byte, 1), ec);
    while (ec == asio::error::interrupted);
    return received == 0 && (ec == asio::error::eof || ec == asio::error::connection_reset);
  }

  asio::ip::tcp::socket& socket() { return socket_; }

 private:
  asio::io_context context_;
  asio::ip::tcp::socket socket_;
  std::string unread_;
};

}  // namespace slabbuf::support
