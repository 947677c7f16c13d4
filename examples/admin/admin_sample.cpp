// SPDX-License-Identifier: MIT
#include "admin/admin_sample.hpp"

#include <slabbuf/pool/exposition.hpp>
#include <slabbuf/pool/version.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>

namespace slabbuf::examples {
namespace {

std::string described(std::string_view name, std::string_view type, std::string_view help, const std::string& value) {
  return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n{0} {3}\n", name, type, help, value);
}

// By the names that Prometheus' own clients give them.
std::string to_prometheus(const process_usage& usage) {
  return described("process_resident_memory_bytes", "gauge", "Resident memory.", std::to_string(usage.resident_bytes)) +
         described("process_virtual_memory_bytes", "gauge", "Address space.", std::to_string(usage.virtual_bytes)) +
         described("process_open_fds", "gauge", "Open descriptors.", std::to_string(usage.open_descriptors)) +
         described("process_threads", "gauge", "Threads.", std::to_string(usage.threads)) +
         described("process_cpu_seconds_total", "counter", "CPU time, user and system.",
                   fmt::format("{:.6f}", usage.cpu_s)) +
         described("process_start_time_seconds", "gauge", "When it started, since the epoch.",
                   fmt::format("{:.3f}", usage.started_at_s));
}

}  // namespace

std::string to_prometheus(const admin_sample& sample) {
  std::vector<named_stats> pools;
  for (const auto& [name, stats] : sample.pools) pools.push_back({name, &stats});
  std::string page = slabbuf::to_prometheus(pools);
  for (const admin_metric& each : sample.metrics) {
    const bool counter = each.of == admin_metric::kind::counter;
    page += described(fmt::format("slabbuf_server_{}{}", each.name, counter ? "_total" : ""),
                      counter ? "counter" : "gauge", each.help, std::to_string(each.value));
  }
  return page + to_prometheus(sample.process);
}

std::string to_json(std::string_view program, const admin_sample& sample) {
  using json = nlohmann::ordered_json;
  const double now_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  json metrics = json::array();
  for (const admin_metric& each : sample.metrics) {
    metrics.push_back({{"name", each.name},
                       {"kind", each.of == admin_metric::kind::counter ? "counter" : "gauge"},
                       {"help", each.help},
                       {"value", each.value}});
  }
  json pools = json::array();
  for (const auto& [name, stats] : sample.pools) {
    json pool{{"name", name}};
    pool.update(json::parse(slabbuf::to_json(stats)));
    pools.push_back(std::move(pool));
  }
  const json object{{"program", program},
                    {"version", SLABBUF_VERSION_STRING},
                    {"uptime_s", now_s - sample.process.started_at_s},
                    {"process",
                     {{"resident_bytes", sample.process.resident_bytes},
                      {"virtual_bytes", sample.process.virtual_bytes},
                      {"open_descriptors", sample.process.open_descriptors},
                      {"threads", sample.process.threads},
                      {"cpu_s", sample.process.cpu_s}}},
                    {"metrics", std::move(metrics)},
                    {"pools", std::move(pools)}};
  return object.dump() + "\n";
}

}  // namespace slabbuf::examples
