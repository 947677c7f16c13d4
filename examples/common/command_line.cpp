// SPDX-License-Identifier: MIT
#include "common/command_line.hpp"

#include <slabbuf/pool/version.hpp>

#include <fmt/format.h>
#include <asio/ip/address.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace slabbuf::examples {
namespace {

// Runs a parser of ours as a CLI11 check, which reports by returning the message.
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

// CLI11 may say more than one line, users get one.
std::string first_line(std::string text) {
  text.resize(std::min(text.find('\n'), text.size()));
  return text;
}

}  // namespace

std::size_t parse_size(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, unsigned>, 12> units{{{"", 0},
                                                                                {"B", 0},
                                                                                {"K", 10},
                                                                                {"KB", 10},
                                                                                {"KiB", 10},
                                                                                {"M", 20},
                                                                                {"MB", 20},
                                                                                {"MiB", 20},
                                                                                {"G", 30},
                                                                                {"GB", 30},
                                                                                {"GiB", 30},
                                                                                {"T", 40}}};
  std::size_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error == std::errc() && rest != text.data()) {
    const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
    for (const auto& [name, shift] : units) {
      if (unit == name && count <= SIZE_MAX >> shift) return count << shift;
    }
  }
  throw std::invalid_argument(fmt::format("'{}' is not a size (examples: 4096, 64KiB, 16M)", text));
}

std::string format_size(std::size_t bytes) {
  static constexpr std::array<const char*, 4> units{"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

asio::ip::tcp::endpoint parse_endpoint(const std::string& text) {
  const auto refuse = [&] {
    return std::invalid_argument(
        fmt::format("'{}' is not ADDRESS:PORT (examples: 127.0.0.1:7000, [::1]:7000, localhost:0)", text));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) throw refuse();
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";

  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(host, error);
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, port_error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error || bracketed != address.is_v6() || port_error != std::errc() || rest != end) throw refuse();
  return {address, port};
}

std::string format_endpoint(const asio::ip::tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

CLI::Option* add_size_option(CLI::App& app, const std::string& name, std::size_t& value, std::size_t bytes_min,
                             std::size_t bytes_max, const std::string& description) {
  const auto parse = [=](const std::string& text) {
    const std::size_t bytes = parse_size(text);
    if (bytes < bytes_min || bytes > bytes_max) {
      throw std::invalid_argument(
          fmt::format("'{}' is not between {} and {}", text, format_size(bytes_min), format_size(bytes_max)));
    }
    return bytes;
  };
  return app
      .add_option_function<std::string>(
          name, [&value, parse](const std::string& text) { value = parse(text); }, description)
      ->check(checked(parse))
      ->type_name("SIZE")
      ->default_str(format_size(value));
}

CLI::Option* add_endpoint_option(CLI::App& app, const std::string& name, asio::ip::tcp::endpoint& value,
                                 const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [&value](const std::string& text) { value = parse_endpoint(text); }, description)
      ->check(checked(parse_endpoint))
      ->type_name("ADDRESS:PORT")
      ->default_str(format_endpoint(value));
}

int run_program(CLI::App& app, int argument_count, char** arguments, const std::function<int()>& body) {
  app.set_version_flag("--version", app.get_name() + " " SLABBUF_VERSION_STRING);
  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& fault) {
    fmt::print(stderr, "{}: {} (--help lists the options)\n", app.get_name(), first_line(fault.what()));
    return exit_usage;
  }
  try {
    return body();
  } catch (const std::exception& fault) {
    fmt::print(stderr, "{}: {}\n", app.get_name(), fault.what());
    return exit_failure;
  }
}

}  // namespace slabbuf::examples
