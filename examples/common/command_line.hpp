// SPDX-License-Identifier: MIT
// What every program of the project does the same way with its command line: sizes, addresses,
// --help, --version, one line and exit status 2 for whatever cannot be used.
// Threads: before any are started.
// Lifetime: values; nothing is kept.
#pragma once

#include <CLI/CLI.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <vector>

namespace slabbuf::examples {

/// "4096", "64K", "64KiB", "16 mib", "2GiB": powers of 1024, in bytes. Throws std::invalid_argument.
std::size_t parse_size(const std::string& text);

/// "16.0 MiB": the largest unit with at least one of it, to read.
std::string format_size(std::size_t bytes);

/// "16MiB", "1000B": exact, what parse_size() takes.
std::string exact_size(std::size_t bytes);

/// "127.0.0.1:7000", "[::1]:7000", "localhost:0". Throws std::invalid_argument.
asio::ip::tcp::endpoint parse_endpoint(const std::string& text);

/// The inverse: "127.0.0.1:7000" or "[::1]:7000".
std::string format_endpoint(const asio::ip::tcp::endpoint& endpoint);
std::string format_endpoint(const asio::ip::udp::endpoint& endpoint);

/// A check of CLI11's by a parser that throws.
template <class Parse>
CLI::Validator checked(Parse parse) {
  return CLI::Validator(
      [parse](std::string& text) -> std::string {
        try {
          parse(text);
          return {};
        } catch (const std::exception& fault) {
          return fault.what();
        }
      },
      "");
}

/// What --help says of an option with limits: "How many (1 to 256)".
std::string with_limits(const std::string& description, const std::string& least, const std::string& most);

/// Adds an option that is a size in bytes between the two limits, which --help names.
CLI::Option* add_size_option(CLI::App& app, const std::string& name, std::size_t& value, std::size_t bytes_min,
                             std::size_t bytes_max, const std::string& description);

/// Adds an option that is a whole number between the two limits, which --help names; `unit` is what it calls the
/// number.
CLI::Option* add_count_option(CLI::App& app, const std::string& name, std::size_t& value, std::size_t count_min,
                              std::size_t count_max, const std::string& unit, const std::string& description);

/// Adds an option that is ADDRESS:PORT.
CLI::Option* add_endpoint_option(CLI::App& app, const std::string& name, asio::ip::tcp::endpoint& value,
                                 const std::string& description);

/// Adds --host, which may be given again and again: names of HTTP servers that only their own machine can reach.
CLI::Option* add_hosts_option(CLI::App& app, std::vector<std::string>& hosts);

/// Exit statuses of every program.
inline constexpr int exit_success = 0;
inline constexpr int exit_failure = 1;  // could not start, or could not do its work
inline constexpr int exit_usage = 2;    // the command line cannot be used

/// Hands what was printed to the system. Throws std::system_error when it cannot be written (to a file system that is
/// full, say), std::runtime_error when something before it could not. Where standard output keeps nothing back, as on a
/// terminal, fmt::print() throws already.
void flush_standard_output();

/// Parses, then runs `body`, whose result is the exit status. --help and --version print and exit with
/// 0, bad usage (a CLI::ParseError, also from `body`) prints one line and exits with 2, any other exception from
/// `body` prints one line and exits with 1, and so does output that cannot be written. An option that nobody knows is
/// named before one that is missing.
int run_program(CLI::App& app, int argument_count, char** arguments, const std::function<int()>& body);

}  // namespace slabbuf::examples
