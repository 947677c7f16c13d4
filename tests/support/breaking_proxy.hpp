// SPDX-License-Identifier: MIT
// A network that breaks: passes connections on to a server, and cuts the first ones after so many bytes.
// Threads: two for each connection.
// Lifetime: dies when all connections have ended; the server must outlive it.
#pragma once

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <thread>
#include <utility>

namespace slabbuf::support {

class breaking_proxy {
 public:
  /// The first `cuts` connections end after `bytes`, of both directions together.
  breaking_proxy(asio::ip::tcp::endpoint server, std::size_t cuts, std::size_t bytes)
      : server_(std::move(server)),
        cuts_left_(cuts),
        bytes_(bytes),
        acceptor_(context_, {asio::ip::address_v4::loopback(), 0}) {
    thread_ = std::thread([this] { accept(); });
  }
  ~breaking_proxy() {
    stopping_ = true;
    asio::error_code ignored;
    asio::ip::tcp::socket(context_).connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
    for (std::thread& each : connections_) each.join();
  }

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  std::size_t cuts_left() const noexcept { return cuts_left_; }

 private:
  struct pair {
    asio::ip::tcp::socket client;
    asio::ip::tcp::socket server;
    std::atomic<std::size_t> bytes_left;

    void cut() {
      asio::error_code ignored;
      client.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
      server.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
    }
    // Until one side ends, or the bytes are spent: then nothing goes either way any more.
    void pass_on(asio::ip::tcp::socket& from, asio::ip::tcp::socket& to) {
      std::array<char, 16'384> bytes;
      asio::error_code ec;
      for (;;) {
        const std::size_t count = from.read_some(asio::buffer(bytes), ec);
        const std::size_t left = bytes_left.load();
        if (ec || left == 0) break;
        const std::size_t passed = std::min(count, left);
        bytes_left -= passed;
        asio::write(to, asio::buffer(bytes.data(), passed), ec);
        if (ec || passed < count) break;
      }
      cut();
    }
  };

  void accept() {
    for (;;) {
      asio::ip::tcp::socket client = acceptor_.accept();
      if (stopping_) return;
      const bool cut = cuts_left_ != 0;
      if (cut) --cuts_left_;
      connections_.emplace_back([this, cut, peer = std::move(client)]() mutable {
        pair both{std::move(peer), asio::ip::tcp::socket(context_), cut ? bytes_ : SIZE_MAX};
        both.server.connect(server_);
        std::thread back([&] { both.pass_on(both.server, both.client); });
        both.pass_on(both.client, both.server);
        back.join();
      });
    }
  }

  asio::io_context context_;
  asio::ip::tcp::endpoint server_;
  std::atomic<std::size_t> cuts_left_;
  std::size_t bytes_;
  asio::ip::tcp::acceptor acceptor_;
  std::atomic<bool> stopping_{false};
  std::list<std::thread> connections_;
  std::thread thread_;
};

}  // namespace slabbuf::support
