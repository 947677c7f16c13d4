// SPDX-License-Identifier: MIT
// What a server says once it is ready.
// Threads: one.
#pragma once

#include "support/child_process.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>

namespace slabbuf::support {

/// The port in the line that the program prints for a listener: "listening tcp 127.0.0.1:12345".
inline std::uint16_t read_port(child_process& child, const std::string& transport,
                               const std::string& address = "127.0.0.1") {
  const std::string expected = "listening " + transport + " " + address + ":";
  const std::string line = child.read_line();
  if (line.compare(0, expected.size(), expected) != 0)
    throw std::runtime_error("unexpected line: " + line + " " + child.standard_error());
  return static_cast<std::uint16_t>(std::stoi(line.substr(expected.size())));
}

}  // namespace slabbuf::support
