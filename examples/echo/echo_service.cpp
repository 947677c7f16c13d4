// SPDX-License-Identifier: MIT
#include "echo/echo_service.hpp"

#include <cstddef>
#include <memory>

namespace slabbuf::examples {
echo_service::echo_service(const echo_options& options) : shared_(options), addresses_(options.addresses) {
  for (std::size_t index = 0; index < options.threads; ++index) {
    shards_.add(std::make_unique<echo_shard>(shared_));
  }
  shards_.listen("--tcp", addresses_.tcp, [](echo_shard& shard, const auto& at) { return shard.listen_tcp(at); });
  shards_.listen("--udp", addresses_.udp, [](echo_shard& shard, const auto& at) { return shard.listen_udp(at); });
  shards_.listen("--tls", addresses_.tls, [](echo_shard& shard, const auto& at) { return shard.listen_tls(at); });
}

echo_stats echo_service::stats() const noexcept {
  echo_stats all;
  all.connections = shared_.connections.load(std::memory_order_relaxed);
  shards_.each([&all](const echo_shard& each) {
    const echo_counters& counters = each.counters();
    all.accepted += counters.accepted.get();
    all.refused += counters.refused.get();
    all.datagrams += counters.datagrams.get();
    all.received_bytes += counters.received_bytes.get();
    all.sent_bytes += counters.sent_bytes.get();
  });
  return all;
}

}  // namespace slabbuf::examples
