// SPDX-License-Identifier: MIT
// --admin: the live page of a server's pools, /metrics for Prometheus, /stats as JSON, /healthz.
// Threads: the sampler is called on a thread of its own; the rest from one.
// Lifetime: whatever the sampler looks at must outlive it. Destroyed, it answers what it is at and ends.
//
// Memory and thread are its own: it answers while the server's budget is spent and its threads are busy. It is for
// whoever runs the server: it knows no passwords, so it listens where only they are.
#pragma once

#include "admin/admin_sample.hpp"

#include <asio/ip/tcp.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace slabbuf::examples {

class admin_server {
 public:
  /// Pools and metrics at this moment; `process` is filled in here.
  using sampler = std::function<admin_sample()>;

  /// Listens. Throws std::system_error, whose text names the address.
  /// `hosts`: see http_options.
  admin_server(const asio::ip::tcp::endpoint& address, std::string program, sampler sample,
               std::vector<std::string> hosts = {});
  admin_server(const admin_server&) = delete;
  admin_server& operator=(const admin_server&) = delete;
  ~admin_server();

  /// Where, with the port that the system chose.
  asio::ip::tcp::endpoint endpoint() const;

  /// Serves from now on. Throws std::system_error when there is no thread to be had.
  void start();

 private:
  class state;
  std::unique_ptr<state> state_;
};

}  // namespace slabbuf::examples
