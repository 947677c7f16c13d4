// SPDX-License-Identifier: MIT
#include "echo/echo_service.hpp"

#include "common/command_line.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace slabbuf::examples {
namespace {

// SO_REUSEPORT would let a second server take half of the traffic of a first one. Without it the
// system says that the address is taken.
void check_free(const asio::ip::tcp::endpoint& endpoint) {
  asio::io_context context;
  asio::ip::tcp::acceptor(context, endpoint, true);
}
void check_free(const asio::ip::udp::endpoint& endpoint) {
  asio::io_context context;
  asio::ip::udp::socket(context, endpoint);
}

}  // namespace

// All shards, on the port that the first one gets.
template <class Endpoint>
void echo_service::listen(std::optional<Endpoint>& endpoint, Endpoint (echo_shard::*where)(const Endpoint&)) {
  if (!endpoint) return;
  const Endpoint asked = *endpoint;
  try {
    check_free(asked);
    for (const std::unique_ptr<echo_shard>& each : shards_) endpoint = ((*each).*where)(*endpoint);
  } catch (const std::system_error& fault) {
    throw std::system_error(fault.code(), "cannot listen on " + format_endpoint(asked));
  }
}

echo_service::echo_service(const echo_options& options) : shared_(options), addresses_(options.addresses) {
  for (std::size_t index = 0; index < options.threads; ++index) {
    shards_.push_back(std::make_unique<echo_shard>(shared_));
  }
  listen(addresses_.tcp, &echo_shard::listen_tcp);
  listen(addresses_.udp, &echo_shard::listen_udp);
  listen(addresses_.tls, &echo_shard::listen_tls);
}

echo_service::~echo_service() {
  for (const std::unique_ptr<echo_shard>& each : shards_) each->stop();
  let_threads_go();
  for (std::thread& each : threads_) each.join();
}

void echo_service::let_threads_go() {
  all_started_.store(true);
  all_started_.notify_all();
}

void echo_service::start() {
  for (const std::unique_ptr<echo_shard>& each : shards_) each->start();
  threads_.reserve(shards_.size());
  for (std::size_t index = 1; index < shards_.size(); ++index) {
    // None serves before all are there: where the last one cannot be had, the others end unused.
    try {
      threads_.emplace_back([this, shard = shards_[index].get()] {
        all_started_.wait(false);
        shard->run();
      });
    } catch (const std::system_error& fault) {
      throw std::system_error(
          fault.code(), "cannot start thread " + std::to_string(index + 1) + " of " + std::to_string(shards_.size()));
    }
  }
  let_threads_go();
}

void echo_service::run() {
  shards_.front()->run();
  for (std::thread& each : threads_) each.join();
  threads_.clear();
}

echo_stats echo_service::stats() const noexcept {
  echo_stats all;
  all.connections = shared_.connections.load(std::memory_order_relaxed);
  for (const std::unique_ptr<echo_shard>& each : shards_) {
    const echo_counters& counters = each->counters();
    all.accepted += counters.accepted.get();
    all.refused += counters.refused.get();
    all.datagrams += counters.datagrams.get();
    all.received_bytes += counters.received_bytes.get();
    all.sent_bytes += counters.sent_bytes.get();
  }
  return all;
}

void echo_service::drain() {
  for (const std::unique_ptr<echo_shard>& each : shards_) each->drain();
}

}  // namespace slabbuf::examples
