// SPDX-License-Identifier: MIT
#include "http/http_server.hpp"

#include "common/command_line.hpp"
#include "http/blocking_threads.hpp"
#include "http/http_shard.hpp"

#include <cstddef>
#include <string>
#include <system_error>

namespace slabbuf::examples {
namespace {

// All shards, on the port that the first one gets.
template <class Listen>
void listen_all(const std::vector<std::unique_ptr<http_shard>>& shards,
                std::optional<asio::ip::tcp::endpoint>& endpoint, Listen listen) {
  if (!endpoint) return;
  const asio::ip::tcp::endpoint asked = *endpoint;
  try {
    check_free(asked);
    for (const std::unique_ptr<http_shard>& each : shards) endpoint = listen(*each, *endpoint);
  } catch (const std::system_error& fault) {
    throw std::system_error(fault.code(), "cannot listen on " + format_endpoint(asked));
  }
}

}  // namespace

http_server::http_server(const http_options& options, concurrent_pool& buffers, blocking_threads& threads,
                         const handler_factory& make_handler)
    : options_(options), blocking_(threads) {
  for (std::size_t index = 0; index < options.threads; ++index) {
    shards_.push_back(
        std::make_unique<http_shard>(http_shared{options_, buffers, threads, connections_}, make_handler));
  }
  listen_all(shards_, options_.plain, [](http_shard& shard, const auto& at) { return shard.listen_plain(at); });
  listen_all(shards_, options_.tls, [](http_shard& shard, const auto& at) { return shard.listen_tls(at); });
}

http_server::~http_server() {
  for (const std::unique_ptr<http_shard>& each : shards_) each->stop();
  let_threads_go();
  for (std::thread& each : threads_) each.join();
  // What it still does ends on the io_contexts, which are stopped and still there.
  blocking_.join();
}

void http_server::let_threads_go() {
  all_started_.store(true);
  all_started_.notify_all();
}

void http_server::start() {
  for (const std::unique_ptr<http_shard>& each : shards_) each->start();
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

void http_server::run() {
  shards_.front()->run();
  for (std::thread& each : threads_) each.join();
  threads_.clear();
}

void http_server::drain() {
  for (const std::unique_ptr<http_shard>& each : shards_) each->drain();
}

http_stats http_server::stats() const noexcept {
  http_stats all;
  all.connections = connections_.load(std::memory_order_relaxed);
  for (const std::unique_ptr<http_shard>& each : shards_) {
    const http_counters& counters = each->counters();
    all.accepted += counters.accepted.get();
    all.refused += counters.refused.get();
    all.requests += counters.requests.get();
    all.received_bytes += counters.received_bytes.get();
    all.sent_bytes += counters.sent_bytes.get();
    for (std::size_t index = 0; index < counters.answers.size(); ++index)
      all.answers[index] += counters.answers[index].get();
  }
  return all;
}

}  // namespace slabbuf::examples
