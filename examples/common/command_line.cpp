// SPDX-License-Identifier: MIT
#include "common/command_line.hpp"

#include <slabbuf/pool/version.hpp>

#include <fmt/format.h>
#include <asio/ip/address.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace slabbuf::examples {
namespace {

// CLI11 may say more than one line, users get one.
std::string first_line(std::string text) {
  text.resize(std::min(text.find('\n'), text.size()));
  return text;
}

// How many letters must be changed, put in or left out to make one word of the other.
std::size_t distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t changed = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// The program and the subcommand that was given, or all of them where none was.
std::vector<const CLI::App*> apps_of(const CLI::App& app) {
  std::vector<const CLI::App*> all{&app};
  for (const CLI::App* const each : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (each->parsed() || app.get_subcommands().empty()) all.push_back(each);
  }
  return all;
}

// ", did you mean --threads?" for --treads; nothing where no option and no subcommand is that close.
std::string suggestion_for(const CLI::App& app, const std::string& word) {
  std::size_t least = std::max<std::size_t>(word.size() / 3, 2) + 1;
  std::string nearest;
  const auto consider = [&](const std::string& name) {
    const std::size_t changes = distance(word, name);
    if (changes < least) {
      least = changes;
      nearest = name;
    }
  };
  for (const CLI::App* const each : apps_of(app)) {
    if (each != &app) consider(each->get_name());
    for (const CLI::Option* const option : each->get_options()) {
      for (const std::string& name : option->get_lnames()) consider("--" + name);
    }
  }
  return nearest.empty() ? nearest : fmt::format(", did you mean {}?", nearest);
}

// What to say of "--budget 16 KiB", of which the shell makes three words; empty when there is no such thing.
std::string size_in_two_words(const CLI::App& app, const std::vector<std::string>& words) {
  for (std::size_t at = 0; at + 2 < words.size(); ++at) {
    const std::string& unit = words[at + 2];
    const std::string size = words[at + 1] + unit;
    if (unit.empty() || std::isalpha(static_cast<unsigned char>(unit.front())) == 0) continue;
    for (const CLI::App* const each : apps_of(app)) {
      const CLI::Option* const option = each->get_option_no_throw(words[at]);
      if (option == nullptr || option->get_type_name().find("SIZE") != 0) continue;
      try {
        parse_size(size);
        return fmt::format("{}: a size is one word: {}, not {} {}", words[at], size, words[at + 1], unit);
      } catch (const std::invalid_argument&) {  // the next word was another one
      }
    }
  }
  return {};
}

// What is wrong with a command line: what nobody knows comes before what is missing for that very reason.
std::string describe(const CLI::App& app, const CLI::ParseError& fault, const std::vector<std::string>& words) {
  std::string size = size_in_two_words(app, words);
  if (!size.empty()) return size;
  const std::vector<std::string> unknown = app.remaining(true);
  for (const std::string& each : unknown) {
    if (each.size() < 2 || each.front() != '-' || each == "--") continue;
    const std::string name = each.substr(0, each.find('='));
    return fmt::format("{} is no option{}", name, suggestion_for(app, name));
  }
  for (const std::string& each : unknown) {
    const std::string suggestion = suggestion_for(app, each);
    if (!suggestion.empty() || typeid(fault) == typeid(CLI::ExtrasError)) {
      return fmt::format("'{}' is not expected here{}", each, suggestion);
    }
  }
  return first_line(fault.what());
}

// Letters, digits, hyphens, underscores, and dots between them: what a Host field has before its port.
std::string parse_host_name(const std::string& text) {
  const bool dotted = text.starts_with('.') || text.ends_with('.') || text.find("..") != std::string::npos;
  const bool spelled = std::all_of(text.begin(), text.end(), [](char each) {
    return std::isalnum(static_cast<unsigned char>(each)) != 0 || each == '-' || each == '_' || each == '.';
  });
  if (text.empty() || text.size() > 253 || dotted || !spelled) {
    throw std::invalid_argument(
        fmt::format("'{}' is not a host name (example: files.example.org; no scheme, no port, no path)", text));
  }
  return text;
}

}  // namespace

std::string with_limits(const std::string& description, const std::string& least, const std::string& most) {
  return fmt::format("{} ({} to {})", description, least, most);
}

std::size_t parse_size(const std::string& text) {
  static constexpr std::string_view letters = "bkmgt";
  std::size_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, count);
  if (error == std::errc() && rest != text.data()) {
    std::string unit(rest, end);
    unit.erase(0, unit.find_first_not_of(' '));
    for (char& each : unit) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    const std::size_t power = unit.empty() ? 0 : letters.find(unit.front());
    const std::string_view tail = unit.empty() ? std::string_view() : std::string_view(unit).substr(1);
    const bool spelled = tail.empty() || (power != 0 && (tail == "b" || tail == "ib"));
    if (power < letters.size() && spelled && count <= SIZE_MAX >> (10 * power)) return count << (10 * power);
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

std::string exact_size(std::size_t bytes) {
  static constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes != 0 && bytes % 1024 == 0 && unit + 1 < units.size(); bytes /= 1024) ++unit;
  return fmt::format("{}{}", bytes, units[unit]);
}

asio::ip::tcp::endpoint parse_endpoint(const std::string& text) {
  const auto refuse = [&](const char* fault = "is not ADDRESS:PORT") {
    return std::invalid_argument(
        fmt::format("'{}' {} (examples: 127.0.0.1:7000, [::1]:7000, localhost:0)", text, fault));
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
  if (error) throw refuse("names no IP address");
  if (bracketed != address.is_v6()) throw refuse();
  if (port_error != std::errc() || rest != end) throw refuse("has no port between 0 and 65535");
  return {address, port};
}

std::string format_endpoint(const asio::ip::tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                    : fmt::format("{}:{}", address, endpoint.port());
}

std::string format_endpoint(const asio::ip::udp::endpoint& endpoint) {
  return format_endpoint(asio::ip::tcp::endpoint(endpoint.address(), endpoint.port()));
}

CLI::Option* add_size_option(CLI::App& app, const std::string& name, std::size_t& value, std::size_t bytes_min,
                             std::size_t bytes_max, const std::string& description) {
  const auto parse = [=](const std::string& text) {
    const std::size_t bytes = parse_size(text);
    if (bytes < bytes_min || bytes > bytes_max) {
      throw std::invalid_argument(
          fmt::format("'{}' is not between {} and {}", text, exact_size(bytes_min), exact_size(bytes_max)));
    }
    return bytes;
  };
  return app
      .add_option_function<std::string>(
          name, [&value, parse](const std::string& text) { value = parse(text); },
          with_limits(description, exact_size(bytes_min), exact_size(bytes_max)))
      ->check(checked(parse))
      ->type_name("SIZE")
      ->default_str(exact_size(value));
}

CLI::Option* add_count_option(CLI::App& app, const std::string& name, std::size_t& value, std::size_t count_min,
                              std::size_t count_max, const std::string& unit, const std::string& description) {
  const auto parse = [=](const std::string& text) {
    std::size_t count = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, count);
    if (error != std::errc() || rest != end || count < count_min || count > count_max) {
      throw std::invalid_argument(
          fmt::format("'{}' is not a whole number between {} and {}", text, count_min, count_max));
    }
    return count;
  };
  return app
      .add_option_function<std::string>(
          name, [&value, parse](const std::string& text) { value = parse(text); },
          with_limits(description, std::to_string(count_min), std::to_string(count_max)))
      ->check(checked(parse))
      ->type_name(unit)
      ->default_str(std::to_string(value));
}

CLI::Option* add_hosts_option(CLI::App& app, std::vector<std::string>& hosts) {
  return app
      .add_option("--host", hosts,
                  "A name in Host fields that means this server, besides localhost and addresses; may be given again. "
                  "Other names are refused (421), as they would be those of pages that try to reach it through a "
                  "browser: by way of a loopback address always, and everywhere once a name is given")
      ->check(checked(parse_host_name))
      ->type_name("NAME")
      ->allow_extra_args(false);
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

void flush_standard_output() {
  const char* const fault = "standard output cannot be written";
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), fault);
  if (std::ferror(stdout) != 0) throw std::runtime_error(fault);  // by an earlier write: its errno is gone
}

int run_program(CLI::App& app, int argument_count, char** arguments, const std::function<int()>& body) {
  app.set_version_flag("--version", app.get_name() + " " SLABBUF_VERSION_STRING);
  try {
    int status = exit_success;
    try {
      app.parse(argument_count, arguments);
      status = body();
    } catch (const CLI::Success& done) {
      status = app.exit(done);
    }
    flush_standard_output();
    return status;
  } catch (const CLI::ParseError& fault) {
    fmt::print(stderr, "{}: {} (--help lists the options)\n", app.get_name(),
               describe(app, fault, {arguments, arguments + argument_count}));
    return exit_usage;
  } catch (const std::exception& fault) {
    // What the standard library says of memory it cannot have is the name of a type.
    const char* const reason = typeid(fault) == typeid(std::bad_alloc) ? "not enough memory" : fault.what();
    fmt::print(stderr, "{}: {}\n", app.get_name(), reason);
    return exit_failure;
  }
}

}  // namespace slabbuf::examples
