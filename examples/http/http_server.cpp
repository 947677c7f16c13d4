// SPDX-License-Identifier: MIT
#include "http/http_server.hpp"

#include "http/blocking_threads.hpp"
#include "http/http_shard.hpp"

#include <cstddef>
#include <memory>

namespace slabbuf::examples {

http_server::http_server(const http_options& options, concurrent_pool& buffers, blocking_threads& threads,
                         const handler_factory& make_handler)
    : options_(options), blocking_(threads) {
  for (std::size_t index = 0; index < options.threads; ++index) {
    shards_.add(std::make_unique<http_shard>(http_shared{options_, buffers, threads, connections_}, make_handler));
  }
  shards_.listen(options_.plain_option, options_.plain,
                 [](http_shard& shard, const auto& at) { return shard.listen_plain(at); });
  shards_.listen("--https", options_.tls, [](http_shard& shard, const auto& at) { return shard.listen_tls(at); });
}

http_server::~http_server() {
  shards_.stop();
  // What it still does ends on the io_contexts, which are stopped and still there.
  blocking_.join();
}

void http_server::start() { shards_.start(); }
void http_server::run() { shards_.run(); }
void http_server::drain() { shards_.drain(); }

http_stats http_server::stats() const noexcept {
  http_stats all;
  all.connections = connections_.load(std::memory_order_relaxed);
  shards_.each([&all](const http_shard& each) {
    const http_counters& counters = each.counters();
    all.accepted += counters.accepted.get();
    all.refused += counters.refused.get();
    all.requests += counters.requests.get();
    all.received_bytes += counters.received_bytes.get();
    all.sent_bytes += counters.sent_bytes.get();
    for (std::size_t index = 0; index < counters.answers.size(); ++index)
      all.answers[index] += counters.answers[index].get();
  });
  return all;
}

}  // namespace slabbuf::examples
