// SPDX-License-Identifier: MIT
// Commands of the shell, for tests with programs that nobody here wrote.
// Threads: any.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace slabbuf::support {

struct process_closer {
  void operator()(std::FILE* process) const { ::pclose(process); }
};

/// A command that runs, and what it prints. Its end is waited for.
using running_command = std::unique_ptr<std::FILE, process_closer>;
inline running_command run_command(const std::string& command) {
  return running_command(::popen(command.c_str(), "r"));
}

inline bool can_run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

/// All that a command prints.
inline std::string output_of(const std::string& command) {
  const running_command running = run_command(command);
  std::string text;
  std::array<char, 4096> bytes;
  while (const std::size_t count = std::fread(bytes.data(), 1, bytes.size(), running.get()))
    text.append(bytes.data(), count);
  return text;
}

}  // namespace slabbuf::support
