// SPDX-License-Identifier: MIT
// file_client: gets a file from an HTTP server, or puts one there.
#include "common/command_line.hpp"
#include "common/signals.hpp"
#include "files/file_client_download.hpp"
#include "files/file_client_upload.hpp"
#include "http/url.hpp"

#include <slabbuf/net/openssl_allocator.hpp>

#include <fmt/format.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

using namespace slabbuf::examples;

struct command {
  client_options options;
  bool quiet = false;
  bool puts = false;
  std::string url;
  std::string file;
};

std::filesystem::path target_of(const command& asked, const http_url& url) {
  std::filesystem::path target = asked.file;
  if (target.empty() || std::filesystem::is_directory(target)) {
    const std::string name = file_name_of(url);
    if (name.empty()) throw CLI::ValidationError("the URL names no file: say which FILE to write");
    target /= name;
  }
  return target;
}

// A URL that ends with a slash is a directory's: the file keeps its name.
http_url put_target(const command& asked, http_url url) {
  if (url.target.back() != '/') return url;
  for (const char each : std::filesystem::path(asked.file).filename().string()) {
    const auto byte = static_cast<unsigned char>(each);
    const bool plain = std::isalnum(byte) != 0 || each == '-' || each == '.' || each == '_' || each == '~';
    url.target += plain ? std::string(1, each) : fmt::format("%{:02X}", byte);
  }
  return url;
}

int run(const command& asked) {
  slabbuf::net::install_openssl_allocator();  // before anything of OpenSSL is used
  std::signal(SIGXFSZ, SIG_IGN);              // a file that may not grow is an error of writing, as on a full disk
  const http_url url = parse_url(asked.url);
  client_setup setup(asked.options);
  const std::string name =
      asked.puts ? std::filesystem::path(asked.file).filename().string() : target_of(asked, url).filename().string();
  progress_display display(name,
                           asked.quiet ? progress_display::style::none : progress_display::style_of_standard_error());

  transfer_end result;
  const auto on_end = [&](const transfer_end& how) {
    result = how;
    setup.context.stop();  // what is still under way, deadlines and signals, nobody waits for
  };
  std::unique_ptr<transfer> work;
  if (asked.puts) {
    work = std::make_unique<upload>(setup, asked.file, put_target(asked, url), display, on_end);
  } else {
    work = std::make_unique<download>(setup, url, target_of(asked, url), display, on_end);
  }
  const signals stop(setup.context, {SIGINT, SIGTERM}, [&](int) { work->interrupt(); });
  work->start();
  setup.context.run();

  display.end_line();
  const bool is_looking_up = setup.lookups != 0;
  try {
    if (result.exit_status != exit_success) {
      fmt::print(stderr, "file_client: {}: {}\n", printable(name), printable(result.message));
    } else if (!asked.quiet) {
      fmt::print("{}: {}\n", printable(name), result.message);
    }
    flush_standard_output();
  } catch (const std::exception& fault) {
    if (!is_looking_up) throw;
    fmt::print(stderr, "file_client: {}\n", fault.what());
    result.exit_status = exit_failure;
  }
  // A name server that does not answer is waited for in getaddrinfo(3), by a thread that nothing ends but the end of
  // the process: not longer than --timeout says. Files are closed by it, too, and hold what they should by now.
  if (is_looking_up) std::_Exit(result.exit_status);
  return result.exit_status;
}

// What CLI11 is to check before anything runs.
std::string check_url(const std::string& text) {
  try {
    parse_url(text);
    return {};
  } catch (const std::invalid_argument& fault) {
    return fault.what();
  }
}

}  // namespace

int main(int argument_count, char** arguments) {
  command asked;
  CLI::App app(
      "Gets a file from an HTTP server, or puts one there. A connection that breaks is made again and goes on "
      "where it was; what comes is written to .FILE.part, verified by its SHA-256 where the server tells one "
      "(Repr-Digest), and renamed.",
      "file_client");
  app.footer(
      "Exit status: 0 done; 1 the file cannot be read or written, or standard output not be written; "
      "2 the command line cannot be used; 3 no connection, or it broke too often; "
      "4 the server refused, or its answer cannot be used; 5 its certificate is not trusted, or TLS failed; "
      "6 the digest differs; 130 interrupted. After 3 and 130 the same `get` goes on where it was.");
  app.require_subcommand(1);
  const CLI::Validator is_url(check_url, "");
  CLI::App* const get = app.add_subcommand("get", "Writes what the URL is to FILE (as the URL calls it, by default)");
  get->add_option("URL", asked.url, "http:// or https://")->type_name("")->required()->check(is_url);
  get->add_option("FILE", asked.file, "Where to; a directory is one to write into")->type_name("");
  CLI::App* const put = app.add_subcommand("put", "Sends FILE to the URL (into it, where it ends with a slash)");
  put->add_option("FILE", asked.file, "What to send")->type_name("")->required();
  put->add_option("URL", asked.url, "http:// or https://")->type_name("")->required()->check(is_url);
  std::size_t timeout_s = 30;
  // Before the verb or behind it, where --help lists them, too.
  for (CLI::App* const each : {&app, get, put}) {
    CLI::App& to = *each;
    add_count_option(to, "--connections", asked.options.connections, 1, 64, "N",
                     "Connections that get a part of the file each, where the server sends parts");
    add_count_option(to, "--retries", asked.options.retries, 0, 1000, "N",
                     "Attempts in a row that may get nowhere, after a broken connection or a 5xx answer");
    add_count_option(to, "--redirects", asked.options.redirects, 0, 20, "N",
                     "Redirects to follow, never from https to http");
    add_count_option(to, "--timeout", timeout_s, 1, 86'400, "SECONDS",
                     "Give up a connection on which nothing moves for this time");
    to.add_option("--ca", asked.options.ca_file, "Trust the authorities in this PEM file instead of the system's")
        ->type_name("FILE");
    to.add_flag("--insecure", asked.options.insecure,
                "Accept any certificate: whoever is in between can read and change all");
    to.add_flag("--quiet", asked.quiet, "Say nothing unless it fails");
  }
  return run_program(app, argument_count, arguments, [&] {
    asked.options.timeout = std::chrono::seconds(timeout_s);
    asked.puts = put->parsed();
    return run(asked);
  });
}
