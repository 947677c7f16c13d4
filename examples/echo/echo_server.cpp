// SPDX-License-Identifier: MIT
// echo_server: sends back what it receives, over TCP, UDP and TLS.
#include "admin/admin_server.hpp"
#include "common/command_line.hpp"
#include "common/context_thread.hpp"
#include "common/descriptors.hpp"
#include "common/signals.hpp"
#include "echo/echo_service.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/net/openssl_allocator.hpp>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <asio/io_context.hpp>

#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace slabbuf::examples;
using decay_timer = slabbuf::net::decay_timer<asio::io_context::executor_type>;

void print_listening(const char* name, const auto& endpoint) {
  if (endpoint) fmt::print("listening {} {}\n", name, format_endpoint(*endpoint));
}

admin_sample sample_of(echo_service& service, const slabbuf::concurrent_pool* openssl_memory) {
  using kind = admin_metric::kind;
  admin_sample sample;
  sample.pools.emplace_back("buffers", service.buffers().stats());
  if (openssl_memory != nullptr) sample.pools.emplace_back("openssl", openssl_memory->stats());
  const echo_stats now = service.stats();
  sample.metrics = {
      {"connections", kind::gauge, "Connections that are open.", now.connections},
      {"connections_accepted", kind::counter, "Connections accepted.", now.accepted},
      {"connections_refused", kind::counter, "Connections refused, because there were too many.", now.refused},
      {"datagrams", kind::counter, "Datagrams received.", now.datagrams},
      {"received_bytes", kind::counter, "Bytes received, without TLS.", now.received_bytes},
      {"sent_bytes", kind::counter, "Bytes sent back.", now.sent_bytes},
  };
  return sample;
}

int serve(const echo_options& options, const std::optional<asio::ip::tcp::endpoint>& admin_address,
          const std::vector<std::string>& hosts) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("echo_server"));
  raise_descriptor_limit();
  // Before OpenSSL does anything.
  slabbuf::concurrent_pool* const openssl_memory =
      options.addresses.tls ? &slabbuf::net::install_openssl_allocator() : nullptr;

  // Before any thread is started and any line is printed: whoever sees the line may send a signal.
  asio::io_context signal_context{1};
  echo_service service(options);
  const signals stop(signal_context, {SIGINT, SIGTERM}, [&](int number) {
    spdlog::info("{}: draining", number == SIGINT ? "SIGINT" : "SIGTERM");
    service.drain();
  });
  const signals reload(signal_context, {SIGHUP}, [&](int) {
    options.addresses.tls ? service.reload_certificate()
                          : spdlog::info("SIGHUP: there is no certificate to be read again");
  });
  // Beside the connections, which do not wait for it.
  const decay_timer decay(signal_context, service.buffers());
  std::optional<decay_timer> openssl_decay;
  if (openssl_memory != nullptr) openssl_decay.emplace(signal_context, *openssl_memory);
  std::optional<admin_server> admin;
  if (admin_address) {
    admin.emplace(
        *admin_address, "echo_server", [&] { return sample_of(service, openssl_memory); }, hosts);
    admin->start();
  }
  service.start();
  {
    const context_thread beside(signal_context);
    print_listening("tcp", service.addresses().tcp);
    print_listening("udp", service.addresses().udp);
    print_listening("tls", service.addresses().tls);
    if (admin) fmt::print("listening admin {}\n", format_endpoint(admin->endpoint()));
    flush_standard_output();
    service.run();
  }

  const slabbuf::pool_stats stats = service.buffers().stats();
  spdlog::info("drained: {} buffers served, {} not for want of budget, {} in use, at most {} at once", stats.acquired,
               stats.refused, stats.in_use, format_size(stats.bytes_high_water));
  return exit_success;
}

}  // namespace

int main(int argument_count, char** arguments) {
  echo_options options;
  options.threads = std::max(1U, std::thread::hardware_concurrency());
  CLI::App app(
      "Sends back what it receives. SIGTERM and SIGINT let connections finish (5 s at most; a second "
      "one cuts them), then it exits. SIGHUP reads the certificate again, for connections from then on.",
      "echo_server");
  asio::ip::tcp::endpoint tcp(asio::ip::address_v4::loopback(), 7000);
  asio::ip::tcp::endpoint udp;
  asio::ip::tcp::endpoint tls;
  const CLI::Option* const tcp_option = add_endpoint_option(
      app, "--tcp", tcp,
      "Address to listen on for connections; port 0 lets the system choose. Not listened on by default with --udp or "
      "--tls");
  const CLI::Option* const udp_option =
      add_endpoint_option(app, "--udp", udp, "Address to receive datagrams on, besides --tcp or instead of it")
          ->default_str("none");
  CLI::Option* const tls_option =
      add_endpoint_option(app, "--tls", tls, "Address to listen on for TLS connections, besides the others or instead")
          ->default_str("none");
  CLI::Option* const cert_option =
      app.add_option("--cert", options.tls.certificate, "Certificate in PEM, and those between it and the root")
          ->type_name("FILE");
  CLI::Option* const key_option =
      app.add_option("--key", options.tls.key, "Private key of the certificate, in PEM")->type_name("FILE");
  tls_option->needs(cert_option)->needs(key_option);
  cert_option->needs(tls_option);
  key_option->needs(tls_option);
  asio::ip::tcp::endpoint admin;
  const CLI::Option* const admin_option =
      add_endpoint_option(app, "--admin", admin,
                          "Address to serve a live page of the memory, /metrics, /stats and /healthz on: for those who "
                          "run the server, it asks for no password")
          ->default_str("none");
  std::vector<std::string> hosts;
  add_hosts_option(app, hosts);
  add_count_option(app, "--threads", options.threads, 1, 256, "N", "Threads, each with its own connections");
  add_size_option(app, "--budget", options.budget_bytes_max, slabbuf::net::read_bytes_default, std::size_t{1} << 40,
                  "Most memory for bytes on their way through");
  add_count_option(app, "--connections-max", options.connections_max, 1, 10'000'000, "N",
                   "Connections at once; more are refused");
  std::size_t idle_timeout_s = 60;
  add_count_option(app, "--idle-timeout", idle_timeout_s, 0, 86'400, "SECONDS",
                   "Close connections without traffic after this time; 0: never");
  return run_program(app, argument_count, arguments, [&] {
    options.idle_timeout = std::chrono::seconds(idle_timeout_s);
    const bool others = udp_option->count() != 0 || tls_option->count() != 0;
    if (!others || tcp_option->count() != 0) options.addresses.tcp = tcp;
    if (udp_option->count() != 0) options.addresses.udp.emplace(udp.address(), udp.port());
    if (tls_option->count() != 0) options.addresses.tls = tls;
    return serve(options, admin_option->count() != 0 ? std::optional(admin) : std::nullopt, hosts);
  });
}
