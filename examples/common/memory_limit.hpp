// SPDX-License-Identifier: MIT
// How much memory the process may have, and the --budget that follows from it.
// Threads: before any are started.
#pragma once

#include <CLI/CLI.hpp>

#include <cstddef>
#include <filesystem>
#include <string>

namespace slabbuf::examples {

/// Bytes of memory the process may have: what its control groups allow (version 1 or 2, the least of it and of all
/// above it), and no more than the machine has. `root` is where the system's files are, for tests.
std::size_t memory_limit(const std::filesystem::path& root = "/");

/// A quarter of it, at least 16 MiB and at most 1 GiB: the rest is for sockets, connections and the page cache.
std::size_t automatic_budget(std::size_t memory_bytes) noexcept;

/// Adds --budget: a size, at least `bytes_min`, or `auto`.
CLI::Option* add_budget_option(CLI::App& app, std::size_t& value, std::size_t bytes_min,
                               const std::string& description);

}  // namespace slabbuf::examples
