// SPDX-License-Identifier: MIT
#include "admin/process_usage.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace slabbuf::examples {
namespace {

double seconds_of(const ::timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

// Before main(): near enough to when the system started the program.
const std::chrono::system_clock::time_point started_at = std::chrono::system_clock::now();

std::uint64_t entries_of(const char* directory) {
  std::error_code ec;
  std::filesystem::directory_iterator entries(directory, ec);
  return ec ? 0 : static_cast<std::uint64_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

process_usage usage_of_this_process() {
  process_usage usage;
  std::ifstream pages("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  if (pages >> total >> resident) {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    usage.virtual_bytes = total * page;
    usage.resident_bytes = resident * page;
  }
  pages.close();
  const std::uint64_t descriptors = entries_of("/proc/self/fd");
  usage.open_descriptors = descriptors != 0 ? descriptors - 1 : 0;  // but for the one that looks
  usage.threads = entries_of("/proc/self/task");
  ::rusage used{};
  if (::getrusage(RUSAGE_SELF, &used) == 0) usage.cpu_s = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  usage.started_at_s = std::chrono::duration<double>(started_at.time_since_epoch()).count();
  return usage;
}

}  // namespace slabbuf::examples
