// SPDX-License-Identifier: MIT
// Drives an echo server, or an HTTP server, and says what it found: one subcommand for each question.
//
//     echo    does every byte come back, how fast, and how late?
//     http    does every answer have the bytes of the first one, how fast, and how late?
//     idle    how much memory does a connection cost that does nothing?
//     reset   does the server go on when many clients vanish at once?
//     udp     does every datagram come back, how fast, and how late?
//
// Threads: the caller's, and those of `echo --threads`.
// Lifetime: ends by itself, after --timeout seconds at the latest: exit status 0 when all is well, 1 with the
// reason when not, 2 when the command line cannot be used.
#include "common/command_line.hpp"
#include "load/datagram_load.hpp"
#include "load/echo_load.hpp"
#include "load/http_load.hpp"
#include "load/idle_probe.hpp"
#include "load/reset_storm.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>

namespace {

using namespace slabbuf::bench;
using slabbuf::examples::add_count_option;
using slabbuf::examples::add_endpoint_option;
using slabbuf::examples::add_size_option;
using slabbuf::examples::format_size;

constexpr std::size_t connections_max = 500'000;
constexpr std::size_t seconds_max = 86'400;  // a day
constexpr std::size_t messages_max = std::size_t{1} << 36;
constexpr std::size_t in_flight_max = 4096;

// What all subcommands have.
struct common_options {
  asio::ip::tcp::endpoint target{asio::ip::address_v4::loopback(), 7000};
  std::size_t seed = 1;
  std::size_t timeout_s = 60;

  template <class Options>
  Options fill(Options options) const {
    options.target = {target.address(), target.port()};
    options.seed = seed;
    options.timeout = std::chrono::seconds(timeout_s);
    return options;
  }
};

CLI::App& add_subcommand(CLI::App& app, const std::string& name, const std::string& description, common_options& common,
                         std::size_t& connections, const std::string& unit = "connections") {
  CLI::App& added = *app.add_subcommand(name, description);
  add_endpoint_option(added, "target", common.target, "the server");
  add_count_option(added, "--" + unit, connections, 1, connections_max, "N", unit + " to open");
  added.add_option("--seed", common.seed, "of the random data")->type_name("NUMBER")->capture_default_str();
  add_count_option(added, "--timeout", common.timeout_s, 1, seconds_max, "SECONDS", "for everything together");
  return added;
}

void print_latency(const latency_histogram& latency) {
  fmt::print("latency_us p50 {:.1f}, p99 {:.1f}, p99.9 {:.1f}, max {:.1f}\n", latency.quantile_us(0.5),
             latency.quantile_us(0.99), latency.quantile_us(0.999), latency.max_us());
}

int run_echo(const echo_options& options) {
  const echo_result result = run_echo_load(options);
  const auto round_trips = static_cast<double>(result.latency.count());
  fmt::print("echoed and verified {} bytes ({}) over {} connections in {:.3f} s\n", result.bytes,
             format_size(result.bytes), options.connections, result.seconds);
  fmt::print("{:.1f} MiB/s, {:.0f} round trips/s ({} round trips)\n",
             static_cast<double>(result.bytes) / 1048576.0 / result.seconds, round_trips / result.seconds,
             result.latency.count());
  print_latency(result.latency);
  return slabbuf::examples::exit_success;
}

int run_http(const http_options& options) {
  const http_result result = run_http_load(options);
  const auto bytes = static_cast<double>(result.body_bytes) * static_cast<double>(result.requests);
  fmt::print("verified {} answers of {} bytes ({}) over {} connections in {:.3f} s\n", result.requests,
             result.body_bytes, format_size(result.body_bytes), options.client.connections, result.seconds);
  fmt::print("{:.1f} MiB/s, {:.0f} requests/s\n", bytes / 1048576.0 / result.seconds,
             static_cast<double>(result.requests) / result.seconds);
  print_latency(result.latency);
  return slabbuf::examples::exit_success;
}

int run_idle(const idle_options& options, std::size_t bytes_max) {
  const idle_result result = run_idle_probe(options);
  fmt::print("{} connections echoed 64 bytes each and are idle\n", options.connections);
  fmt::print("anonymous memory of process {}: {} bytes before, {} after ({})\n", options.server_pid,
             result.before.anonymous_bytes, result.after.anonymous_bytes, result.after.source);
  if (!result.before.settled || !result.after.settled) fmt::print("it had not settled: measure again\n");
  fmt::print("{:.1f} bytes per idle connection\n", result.anonymous_bytes_per_connection);
  if (bytes_max != 0 && result.anonymous_bytes_per_connection > static_cast<double>(bytes_max)) {
    throw std::runtime_error(fmt::format("{:.1f} bytes per idle connection, at most {} are allowed",
                                         result.anonymous_bytes_per_connection, bytes_max));
  }
  return slabbuf::examples::exit_success;
}

int run_reset(const reset_options& options) {
  run_reset_storm(options);
  fmt::print("{} connections reset at once; a fresh one is served\n", options.connections);
  return slabbuf::examples::exit_success;
}

int run_udp(const datagram_options& options) {
  const datagram_result result = run_datagram_load(options);
  fmt::print("echoed and verified {} datagrams of {} bytes over {} sockets in {:.3f} s\n", result.datagrams,
             options.datagram_bytes, options.sockets, result.seconds);
  fmt::print("{:.0f} datagrams/s; {} sent again, {} lost (the kernel dropped {})\n",
             static_cast<double>(result.datagrams) / result.seconds, result.resent, result.lost, result.dropped);
  print_latency(result.latency);
  return slabbuf::examples::exit_success;
}

}  // namespace

int main(int argument_count, char** arguments) {
  constexpr std::size_t chunk_bytes_max = std::size_t{16} << 20;
  constexpr std::size_t total_bytes_max = std::size_t{1} << 44;
  CLI::App app("Drives an echo server, or an HTTP server, and verifies what it does", "load_generator");
  app.require_subcommand(1);
  common_options common;
  std::function<int()> chosen;

  echo_options echo;
  std::size_t echo_bytes = echo.bytes;
  std::size_t round_trips = 0;
  CLI::App& echo_app =
      add_subcommand(app, "echo", "sends random data and compares every byte of the echo", common, echo.connections);
  CLI::Option* const bytes_option =
      add_size_option(echo_app, "--bytes", echo_bytes, 1, total_bytes_max, "to send over all connections together");
  add_count_option(
      echo_app, "--round-trips", round_trips, 1, messages_max, "N",
      "chunks to send over all connections, instead of --bytes; of one size: --chunk-min equal to --chunk-max")
      ->default_str("")
      ->excludes(bytes_option);
  add_size_option(echo_app, "--chunk-min", echo.chunk_bytes_min, 1, chunk_bytes_max, "smallest chunk");
  add_size_option(echo_app, "--chunk-max", echo.chunk_bytes_max, 1, chunk_bytes_max, "largest chunk");
  add_count_option(echo_app, "--pipeline", echo.pipeline, 1, in_flight_max, "N",
                   "chunks a connection may have in flight; 1 is request, response");
  add_count_option(echo_app, "--threads", echo.threads, 1, 64, "N", "threads of the generator");
  echo_app.add_flag("--half-close", echo.half_close,
                    "end the sending side after the last byte; expect all, then the end");
  echo_app.final_callback([&] {
    if (echo.chunk_bytes_min > echo.chunk_bytes_max) throw CLI::ValidationError("--chunk-min", "is above --chunk-max");
    echo.bytes = echo_bytes;
    if (round_trips != 0) {
      if (echo.chunk_bytes_min != echo.chunk_bytes_max) {
        throw CLI::ValidationError("--round-trips", "needs chunks of one size: --chunk-min equal to --chunk-max");
      }
      echo.share_bytes = echo.chunk_bytes_max;
      echo.bytes = round_trips * echo.chunk_bytes_max;
    }
    if (echo.bytes / echo.share_bytes < echo.connections) {
      throw CLI::ValidationError("--connections", "some would have nothing to send");
    }
    echo.progress = isatty(STDERR_FILENO) != 0;
    chosen = [&] { return run_echo(common.fill(echo)); };
  });

  http_options http;
  http.client.connections = 50;
  std::size_t requests = http.requests;
  std::string url;
  std::size_t http_timeout_s = common.timeout_s;
  CLI::App& http_app = *app.add_subcommand("http", "asks for one URL and compares every byte of the answers");
  http_app.add_option("URL", url, "http:// or https://")
      ->type_name("")
      ->required()
      ->check(slabbuf::examples::checked(slabbuf::examples::parse_url));
  add_count_option(http_app, "--connections", http.client.connections, 1, connections_max, "N", "connections to open");
  add_count_option(http_app, "--requests", requests, 1, messages_max, "N", "over all connections together");
  add_count_option(http_app, "--timeout", http_timeout_s, 1, seconds_max, "SECONDS", "for everything together");
  http_app.add_option("--ca", http.client.ca_file, "trust the authorities in this PEM file instead of the system's")
      ->type_name("FILE");
  http_app.add_flag("--insecure", http.client.insecure, "accept any certificate");
  http_app.final_callback([&] {
    http.url = slabbuf::examples::parse_url(url);
    http.requests = requests;
    http.client.timeout = http.timeout = std::chrono::seconds(http_timeout_s);
    http.progress = isatty(STDERR_FILENO) != 0;
    chosen = [&] { return run_http(http); };
  });

  idle_options idle;
  std::size_t server_pid = 0;
  std::size_t hold_s = 0;
  std::size_t idle_bytes_max = 0;
  CLI::App& idle_app =
      add_subcommand(app, "idle", "measures the server's memory for each idle connection", common, idle.connections);
  add_count_option(idle_app, "--server-pid", server_pid, 1, 1 << 22, "PID", "the server's process")
      ->default_str("")
      ->required();
  add_count_option(idle_app, "--hold", hold_s, 0, seconds_max, "SECONDS", "to keep the connections open");
  add_size_option(idle_app, "--bytes-max", idle_bytes_max, 1, std::size_t{1} << 30, "fail above this, per connection")
      ->default_str("no limit");
  idle_app.final_callback([&] {
    idle.server_pid = static_cast<int>(server_pid);
    idle.hold = std::chrono::seconds(hold_s);
    chosen = [&] { return run_idle(common.fill(idle), idle_bytes_max); };
  });

  reset_options reset;
  CLI::App& reset_app =
      add_subcommand(app, "reset", "opens connections and resets them all at once", common, reset.connections);
  reset_app.final_callback([&] { chosen = [&] { return run_reset(common.fill(reset)); }; });

  datagram_options udp;
  CLI::App& udp_app = add_subcommand(app, "udp", "sends random datagrams and compares every byte of the echo", common,
                                     udp.sockets, "sockets");
  add_count_option(udp_app, "--datagrams", udp.datagrams, 1, messages_max, "N", "to send over all sockets together");
  add_size_option(udp_app, "--size", udp.datagram_bytes, sizeof(std::uint64_t), 65'507, "of a datagram");
  add_count_option(udp_app, "--in-flight", udp.in_flight, 1, in_flight_max, "N",
                   "datagrams a socket may have on their way; 1 is request, response");
  udp_app.final_callback([&] {
    if (udp.datagrams < udp.sockets) throw CLI::ValidationError("--sockets", "some would have nothing to send");
    chosen = [&] { return run_udp(common.fill(udp)); };
  });

  return slabbuf::examples::run_program(app, argument_count, arguments, [&] { return chosen(); });
}
