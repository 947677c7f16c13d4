// SPDX-License-Identifier: MIT
// file_server: serves a directory over HTTP/1.1, plain and over TLS, and takes uploads where that is allowed.
#include "admin/admin_server.hpp"
#include "common/command_line.hpp"
#include "common/context_thread.hpp"
#include "common/descriptors.hpp"
#include "common/memory_limit.hpp"
#include "common/privileges.hpp"
#include "common/signals.hpp"
#include "files/file_service.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/net/openssl_allocator.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace {

using namespace slabbuf::examples;
using decay_timer = slabbuf::net::decay_timer<asio::io_context::executor_type>;

// The least with which a request can be answered: a block for its head, one for the answer, and something to spare.
constexpr std::size_t budget_bytes_min = std::size_t{256} << 10;

// Calls `action` again and again, on the thread of the context.
class repeated {
 public:
  repeated(asio::io_context& context, std::chrono::seconds period, std::function<void()> action)
      : timer_(context), period_(period), action_(std::move(action)) {
    wait();
  }

 private:
  void wait() {
    timer_.expires_after(period_);
    timer_.async_wait([this](asio::error_code ec) {
      if (ec) return;
      action_();
      wait();
    });
  }

  asio::steady_timer timer_;
  const std::chrono::seconds period_;
  const std::function<void()> action_;
};

void print_listening(const char* name, const std::optional<asio::ip::tcp::endpoint>& endpoint) {
  if (endpoint) fmt::print("listening {} {}\n", name, format_endpoint(*endpoint));
}

admin_sample sample_of(file_service& service, slabbuf::concurrent_pool* openssl_memory) {
  using kind = admin_metric::kind;
  const http_stats now = service.server().stats();
  admin_sample sample;
  sample.pools.emplace_back("buffers", service.buffers().stats());
  if (openssl_memory != nullptr) sample.pools.emplace_back("openssl", openssl_memory->stats());
  sample.metrics = {
      {"connections", kind::gauge, "Connections that are open.", now.connections},
      {"connections_accepted", kind::counter, "Connections that were accepted.", now.accepted},
      {"connections_refused", kind::counter, "Connections that were refused, for there were too many.", now.refused},
      {"requests", kind::counter, "Requests whose header has come.", now.requests},
      {"responses_2xx", kind::counter, "Requests that were granted.", now.answers[2]},
      {"responses_3xx", kind::counter, "Requests that were answered with a redirection, or not modified.",
       now.answers[3]},
      {"responses_4xx", kind::counter, "Requests that were refused.", now.answers[4]},
      {"responses_5xx", kind::counter, "Requests that failed.", now.answers[5]},
      {"received_bytes", kind::counter, "Bytes of requests.", now.received_bytes},
      {"sent_bytes", kind::counter, "Bytes of answers.", now.sent_bytes},
  };
  return sample;
}

int serve(file_options options, const std::optional<asio::ip::tcp::endpoint>& admin_address, const std::string& user) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("file_server"));
  // For files, those that are kept open among them, and what uploads need.
  constexpr std::size_t descriptors_reserved = 1024;
  std::size_t& connections_max = options.http.limits.connections_max;
  // Streams, the root, what the admin server has; and of each thread what Asio waits with, the listening sockets, the
  // set that connections wait in.
  const std::size_t descriptors_own = 16 + 8 * options.http.threads;
  connections_max =
      connections_within(raise_descriptor_limit(), descriptors_own, descriptors_reserved, connections_max);
  // A file that may not grow any more is an error of the write, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  // Nor is a peer that has gone.
  slabbuf::net::ignore_sigpipe();
  // Before OpenSSL does anything.
  slabbuf::concurrent_pool* const openssl_memory =
      options.certificate ? &slabbuf::net::install_openssl_allocator() : nullptr;

  // Before any thread is started and any line is printed: whoever sees the line may send a signal. The service starts
  // threads of its own, for which the signals must be blocked, too.
  asio::io_context signal_context{1};
  std::function<void()> drain;
  const signals stop(signal_context, {SIGINT, SIGTERM}, [&](int number) {
    spdlog::info("{}: draining", number == SIGINT ? "SIGINT" : "SIGTERM");
    drain();
  });
  std::function<void()> reload;
  const signals on_reload(signal_context, {SIGHUP}, [&](int) {
    options.certificate ? reload() : spdlog::info("SIGHUP: there is no certificate to be read again");
  });

  // Ports below 1024, the key and the root are there before the rights to have them go.
  file_service service(options);
  std::optional<admin_server> admin;
  if (admin_address)
    admin.emplace(
        *admin_address, "file_server", [&] { return sample_of(service, openssl_memory); }, options.http.hosts);
  if (drop_privileges(user)) {
    spdlog::info("serving as user {}", user);
    service.warn_unless_certificate_is_readable();
  }
  // By its descriptor: the way to it may have been root's alone, and is not walked again.
  const int root = service.root().descriptor();
  if (::faccessat(root, ".", R_OK | X_OK, AT_EACCESS) != 0) {
    spdlog::warn("'{}' cannot be read by this user: every request will be refused (--user)", options.root);
  } else if (options.uploads.writable && ::faccessat(root, ".", W_OK, AT_EACCESS) != 0) {
    spdlog::warn("'{}' cannot be written by this user: uploads into it will be refused", options.root);
  }
  drain = [&] { service.drain(); };
  reload = [&] { service.reload_certificate(); };
  const decay_timer decay(signal_context, service.buffers());
  std::optional<decay_timer> openssl_decay;
  if (openssl_memory != nullptr) openssl_decay.emplace(signal_context, *openssl_memory);
  const repeated sweep(signal_context, std::chrono::minutes(1), [&] { service.sweep(); });
  service.start();
  if (admin) admin->start();
  {
    const context_thread beside(signal_context);
    print_listening("http", service.server().plain_endpoint());
    print_listening("https", service.server().tls_endpoint());
    if (admin) print_listening("admin", admin->endpoint());
    flush_standard_output();
    service.run();
  }

  const slabbuf::pool_stats stats = service.buffers().stats();
  spdlog::info("drained: {} requests, {} buffers served, {} in use, at most {} at once",
               service.server().stats().requests, stats.acquired, stats.in_use, format_size(stats.bytes_high_water));
  return exit_success;
}

}  // namespace

int main(int argument_count, char** arguments) {
  file_options options;
  http_limits& limits = options.http.limits;
  options.http.threads = std::max(1U, std::thread::hardware_concurrency());
  CLI::App app(
      "Serves the files of a directory over HTTP/1.1. SIGTERM and SIGINT let requests be answered (5 s at most; a "
      "second "
      "one cuts them), then it exits. SIGHUP reads the certificate again, for connections from then on: "
      "--user must be able to read the files.",
      "file_server");
  app.footer(
      fmt::format("Whoever wants a digest (Want-Repr-Digest) is told SHA-256, but of files larger than {}, or while as "
                  "much is being "
                  "read for others: then the file comes without.",
                  format_size(file_digests::bytes_max)));
  app.add_option("--root", options.root, "Directory to serve")->required()->type_name("DIR");
  asio::ip::tcp::endpoint http(asio::ip::address_v4::loopback(), 8080);
  asio::ip::tcp::endpoint https;
  tls_files files;
  const CLI::Option* const http_option = add_endpoint_option(
      app, "--http", http,
      "Address to listen on; port 0 lets the system choose. Not listened on by default with --https");
  CLI::Option* const https_option =
      add_endpoint_option(app, "--https", https, "Address to listen on for TLS, besides --http or instead of it")
          ->default_str("none");
  CLI::Option* const cert_option =
      app.add_option("--cert", files.certificate, "Certificate, and those that lead to it, in PEM")->type_name("FILE");
  CLI::Option* const key_option =
      app.add_option("--key", files.key, "Its private key, in PEM, not encrypted")->type_name("FILE");
  https_option->needs(cert_option)->needs(key_option);
  cert_option->needs(https_option);
  key_option->needs(https_option);
  app.add_flag("--writable", options.uploads.writable, "Accept uploads (PUT) and removals (DELETE)");
  std::size_t upload_bytes_max = std::size_t{16} << 30;
  add_size_option(app, "--upload-bytes-max", upload_bytes_max, 0, std::size_t{1} << 50, "Largest upload");
  std::string user = "nobody";
  app.add_option("--user", user, "Who to be when started as root")->type_name("NAME")->default_str(user);
  add_count_option(app, "--threads", options.http.threads, 1, 256, "N", "Threads, each with its own connections");
  add_budget_option(app, options.budget_bytes_max, budget_bytes_min,
                    "Most memory for bytes on their way through; auto: a quarter of what the system allows");
  add_count_option(app, "--connections-max", limits.connections_max, 1, 10'000'000, "N",
                   "Connections at once; more are refused");
  add_count_option(app, "--requests-max", limits.requests_max, 1, 1'000'000'000, "N",
                   "Requests of one connection, which then ends");
  std::size_t idle_timeout_s = 60;
  add_count_option(app, "--idle-timeout", idle_timeout_s, 0, 86'400, "SECONDS",
                   "Close connections without a request, or whose client takes nothing, after this time; 0: never");
  std::size_t head_timeout_s = 10;
  add_count_option(app, "--header-timeout", head_timeout_s, 1, 86'400, "SECONDS",
                   "Time for the header of a request, from its first byte on");
  std::size_t body_timeout_s = 30;
  add_count_option(app, "--body-timeout", body_timeout_s, 1, 86'400, "SECONDS", "Time for each 4 KiB of an upload");
  add_hosts_option(app, options.http.hosts);
  asio::ip::tcp::endpoint admin;
  const CLI::Option* const admin_option =
      add_endpoint_option(app, "--admin", admin, "Address of the live page, /metrics, /stats and /healthz")
          ->default_str("none");
  return run_program(app, argument_count, arguments, [&] {
    limits.idle_timeout = std::chrono::seconds(idle_timeout_s);
    limits.head_timeout = std::chrono::seconds(head_timeout_s);
    limits.body_timeout = std::chrono::seconds(body_timeout_s);
    options.uploads.bytes_max = upload_bytes_max;
    if (https_option->count() == 0 || http_option->count() != 0) options.http.plain = http;
    if (https_option->count() != 0) {
      options.http.tls = https;
      options.certificate = files;
    }
    return serve(options, admin_option->count() != 0 ? std::optional(admin) : std::nullopt, user);
  });
}
