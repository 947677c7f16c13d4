// SPDX-License-Identifier: MIT
// An HTTP server whose every answer is a test's to give, right or wrong: bytes, pauses, ends of connections.
// Threads: each connection has one, on which its script runs.
// Lifetime: dies with its connections, which the client or the script must have ended.
#pragma once

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf::support {

/// One request, and the connection to answer it on.
class scripted_request {
 public:
  scripted_request(asio::ip::tcp::socket& socket, std::string head, std::string& unread)
      : head_(std::move(head)), socket_(socket), unread_(unread) {}

  const std::string& head() const noexcept { return head_; }
  std::string method() const { return head_.substr(0, head_.find(' ')); }
  std::string target() const {
    const std::size_t first = head_.find(' ') + 1;
    return head_.substr(first, head_.find(' ', first) - first);
  }
  /// Of the field, as it was sent; empty when there is none.
  std::string field(const std::string& name) const {
    const std::size_t at = head_.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t first = at + name.size() + 4;
    return head_.substr(first, head_.find("\r\n", first) - first);
  }

  void send(std::string_view bytes) {
    asio::error_code gone;  // the client's decision
    asio::write(socket_, asio::buffer(bytes), gone);
  }
  /// Head and body; Content-Length is added.
  void answer(const std::string& status, const std::string& fields = {}, std::string_view body = {}) {
    send("HTTP/1.1 " + status + "\r\n" + fields + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    if (method() != "HEAD") send(body);
  }
  /// Up to `count` bytes of the request's body, fewer when the client ends.
  std::string body(std::size_t count) {
    while (unread_.size() < count) {
      asio::error_code ec;
      asio::read(socket_, asio::dynamic_buffer(unread_), asio::transfer_at_least(1), ec);
      if (ec) break;
    }
    std::string bytes = unread_.substr(0, count);
    unread_.erase(0, count);
    return bytes;
  }
  /// Ends the connection after what was sent.
  void close() {
    asio::error_code ignored;
    socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }

 private:
  std::string head_;
  asio::ip::tcp::socket& socket_;
  std::string& unread_;
};

class scripted_server {
 public:
  using script = std::function<void(scripted_request&)>;

  explicit scripted_server(script on_request)
      : on_request_(std::move(on_request)), acceptor_(context_, {asio::ip::address_v4::loopback(), 0}) {
    thread_ = std::thread([this] { accept(); });
  }
  ~scripted_server() {
    stopping_ = true;
    asio::error_code ignored;
    asio::ip::tcp::socket(context_).connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
    for (std::thread& each : connections_) each.join();
  }

  std::string url(const std::string& target = "/file") const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()) + target;
  }
  /// Heads of all requests so far.
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void accept() {
    for (;;) {
      asio::ip::tcp::socket peer = acceptor_.accept();
      if (stopping_) return;
      connections_.emplace_back([this, socket = std::move(peer)]() mutable { serve(socket); });
    }
  }
  void serve(asio::ip::tcp::socket& socket) {
    std::string unread;
    asio::error_code ec;
    while (socket.is_open()) {
      const std::size_t length = asio::read_until(socket, asio::dynamic_buffer(unread), "\r\n\r\n", ec);
      if (ec) return;
      scripted_request request(socket, unread.substr(0, length), unread);
      unread.erase(0, length);
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request.head());
      }
      on_request_(request);
    }
  }

  script on_request_;
  asio::io_context context_;
  asio::ip::tcp::acceptor acceptor_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::list<std::thread> connections_;
  std::thread thread_;
};

}  // namespace slabbuf::support
