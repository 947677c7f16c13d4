// SPDX-License-Identifier: MIT
#include "load/process_memory.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace slabbuf::bench {
namespace {

// Between two readings: long enough for a server to run, short enough not to matter.
constexpr std::chrono::milliseconds reading_interval{100};

// "RssAnon:     1234 kB"
std::optional<std::uint64_t> read_line(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with(name + ":")) continue;
    std::istringstream value(line.substr(name.size() + 1));
    std::uint64_t kib = 0;
    if (value >> kib) return kib * 1024;
  }
  return std::nullopt;
}

}  // namespace

memory_reading read_process_memory(pid_t pid) {
  struct place {
    const char* file;
    const char* line;
  };
  for (const place& each : {place{"smaps_rollup", "Anonymous"}, place{"status", "RssAnon"}}) {
    const std::string path = fmt::format("/proc/{}/{}", pid, each.file);
    if (const auto bytes = read_line(path, each.line)) return {*bytes, fmt::format("{} of {}", each.line, path), true};
  }
  throw std::runtime_error(fmt::format("cannot read the memory of process {} (is it running, and yours?)", pid));
}

memory_reading read_settled_memory(pid_t pid, std::chrono::steady_clock::time_point until) {
  memory_reading last = read_process_memory(pid);
  while (std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(reading_interval);
    memory_reading next = read_process_memory(pid);
    if (next.anonymous_bytes == last.anonymous_bytes) return next;
    last = std::move(next);
  }
  last.settled = false;
  return last;
}

}  // namespace slabbuf::bench
