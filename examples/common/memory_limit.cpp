// SPDX-License-Identifier: MIT
#include "common/memory_limit.hpp"

#include "common/command_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <stdexcept>

namespace slabbuf::examples {
namespace {

// "max", which is no number, is no limit; version 1 says the same by a number larger than any machine.
std::size_t limit_in(const std::filesystem::path& file) {
  std::string text;
  std::size_t bytes = 0;
  if (!std::getline(std::ifstream(file), text)) return SIZE_MAX;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  return error == std::errc() && end == text.data() + text.size() ? bytes : SIZE_MAX;
}

// The least of the limits of a group and of all above it, as far as they can be seen: in a container, `mount` is often
// the group itself, whatever it is called outside.
std::size_t limit_of_group(const std::filesystem::path& mount, const std::filesystem::path& group, const char* file) {
  std::size_t least = limit_in(mount / file);
  std::filesystem::path at = mount;
  for (const std::filesystem::path& part : group.relative_path()) {
    at /= part;
    least = std::min(least, limit_in(at / file));
  }
  return least;
}

std::size_t machine_bytes() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page_bytes)
                                     : SIZE_MAX;
}

bool is_memory(const std::string& controllers) {
  for (std::size_t at = 0; at <= controllers.size();) {
    const std::size_t end = std::min(controllers.find(',', at), controllers.size());
    if (controllers.compare(at, end - at, "memory") == 0) return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

std::size_t memory_limit(const std::filesystem::path& root) {
  std::size_t least = machine_bytes();
  std::ifstream groups(root / "proc/self/cgroup");
  // "0::/group" of version 2, "5:cpu,memory:/group" of version 1.
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) least = std::min(least, limit_of_group(root / "sys/fs/cgroup", group, "memory.max"));
    if (is_memory(controllers)) {
      least = std::min(least, limit_of_group(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return least;
}

std::size_t automatic_budget(std::size_t memory_bytes) noexcept {
  return std::clamp(memory_bytes / 4, std::size_t{16} << 20, std::size_t{1} << 30);
}

CLI::Option* add_budget_option(CLI::App& app, std::size_t& value, std::size_t bytes_min,
                               const std::string& description) {
  static constexpr std::size_t bytes_max = std::size_t{1} << 40;
  const auto parse = [bytes_min](const std::string& text) {
    if (text == "auto") return automatic_budget(memory_limit());
    const std::size_t bytes = parse_size(text);
    if (bytes < bytes_min || bytes > bytes_max) {
      throw std::invalid_argument(fmt::format("'{}' is neither between {} and {} nor auto", text, exact_size(bytes_min),
                                              exact_size(bytes_max)));
    }
    return bytes;
  };
  return app
      .add_option_function<std::string>(
          "--budget", [&value, parse](const std::string& text) { value = parse(text); },
          with_limits(description, exact_size(bytes_min), exact_size(bytes_max)))
      ->check(checked(parse))
      ->type_name("SIZE|auto")
      ->default_str(exact_size(value));
}

}  // namespace slabbuf::examples
