// SPDX-License-Identifier: MIT
#include "net/tls_processes.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asio/buffer.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "load/process_memory.hpp"
#include "net/server_cpu.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf::bench {
namespace {

using tcp = asio::ip::tcp;

void require(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::abort();
}

// nginx cannot choose one: this was free a moment ago.
unsigned short free_port() {
  asio::io_context context;
  return tcp::acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0)).local_endpoint().port();
}

// What Debian's defaults are, in one process, without what it would write.
std::string nginx_configuration(const std::string& directory, unsigned short port) {
  std::string text = "daemon off; master_process off; worker_processes 1; error_log stderr crit; pid " + directory +
                     "/pid;\nevents { worker_connections 4096; }\nhttp { access_log off; keepalive_timeout 3600; "
                     "keepalive_requests 1000000;\n";
  for (const char* const each : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"})
    text += std::string(each) + "_temp_path " + directory + "/" + each + ";\n";
  return text + "server { listen 127.0.0.1:" + std::to_string(port) + " ssl; root " + directory +
         ";\nssl_certificate " + directory + "/cert.pem; ssl_certificate_key " + directory +
         "/key.pem; ssl_protocols TLSv1.3;\nssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384; } }\n";
}

void write_file(const std::string& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  require(static_cast<bool>(file.flush()), path.c_str());
}

std::string path_of_nginx() {
  for (const char* const each : {NGINX_UNPACKED, "/usr/sbin/nginx"})  // what docker/install unpacked, or the system's
    if (::access(each, X_OK) == 0) return each;
  return {};
}

}  // namespace

void server_process::start(const std::vector<std::string>& command) {
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  require(::pipe2(input.data(), O_CLOEXEC) == 0 && ::pipe2(output.data(), O_CLOEXEC) == 0, "pipe2");
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& each : command) arguments.push_back(const_cast<char*>(each.c_str()));
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(input[0], STDIN_FILENO);
    ::dup2(output[1], STDOUT_FILENO);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(input[0]);
  ::close(output[1]);
  input_ = input[1];
  if (endpoint_.port() == 0) {
    std::FILE* const lines = ::fdopen(output[0], "r");
    unsigned port = 0;
    require(std::fscanf(lines, "%u", &port) == 1, command[0].c_str());
    std::fclose(lines);
    endpoint_ = {asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)};
    return;
  }
  ::close(output[0]);
  // It says nothing when it is ready.
  asio::io_context context;
  asio::error_code ec = asio::error::connection_refused;
  for (int attempt = 0; ec && attempt < 1000; ++attempt) {
    ::usleep(10'000);
    tcp::socket(context).connect(endpoint_, ec);
  }
  require(!ec, command[0].c_str());
}

server_process::server_process(const std::string& kind) {
  std::vector<std::string> command{TLS_BENCH_SERVER};
  for (std::size_t at = 0; at <= kind.size();) {
    const std::size_t end = std::min(kind.find(' ', at), kind.size());
    command.push_back(kind.substr(at, end - at));
    at = end + 1;
  }
  start(command);
}

std::unique_ptr<server_process> server_process::nginx(std::size_t bytes) {
  const std::string program = path_of_nginx();
  if (program.empty()) return nullptr;
  std::unique_ptr<server_process> made(new server_process);
  made->directory_ = make_document(bytes);
  made->endpoint_ = {asio::ip::address_v4::loopback(), free_port()};
  write_file(made->directory_ + "/cert.pem", support::server_certificate().chain_pem);
  write_file(made->directory_ + "/key.pem", support::server_certificate().key_pem);
  write_file(made->directory_ + "/nginx.conf", nginx_configuration(made->directory_, made->endpoint_.port()));
  made->start({program, "-e", "stderr", "-p", made->directory_, "-c", made->directory_ + "/nginx.conf"});
  return made;
}

server_process::~server_process() {
  if (!directory_.empty()) ::kill(pid_, SIGTERM);
  ::close(input_);
  ::waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

std::string make_document(std::size_t bytes) {
  std::string directory = (std::filesystem::temp_directory_path() / "slabbuf_bench_XXXXXX").string();
  require(::mkdtemp(directory.data()) != nullptr, "mkdtemp");
  // Whoever the server runs as reads it.
  std::filesystem::permissions(directory, std::filesystem::perms(0755));
  write_file(directory + "/document", std::string(bytes, 'd'));
  return directory;
}

double server_process::cpu_us() const {
  ::clockid_t clock{};
  require(::clock_getcpuclockid(pid_, &clock) == 0, "clock_getcpuclockid");
  return bench::cpu_us(clock);
}

double server_process::memory_bytes() const {
  return static_cast<double>(
      read_settled_memory(pid_, std::chrono::steady_clock::now() + std::chrono::seconds(5)).anonymous_bytes);
}

void tls_clients::connect(const tcp::endpoint& endpoint, std::size_t count) {
  for (; count != 0; --count) {
    streams_.push_back(std::make_unique<tls_client>(context_, tls_));
    streams_.back()->lowest_layer().connect(endpoint);
    streams_.back()->lowest_layer().set_option(tcp::no_delay(true));
    streams_.back()->handshake(tls_client::client);
  }
}

void tls_clients::exchange(std::size_t rounds, std::size_t bytes) {
  std::string message(bytes, 'x');
  for (; rounds != 0; --rounds) {
    for (const auto& each : streams_) asio::write(*each, asio::buffer(message));
    for (const auto& each : streams_) asio::read(*each, asio::buffer(message));
  }
}

void tls_clients::fetch(std::size_t count, std::size_t bytes) {
  for (std::size_t index = 0; index < count; ++index) fetch(*streams_[index], bytes);
}

void tls_clients::fetch(tls_client& from, std::size_t bytes) {
  static constexpr std::string_view request = "GET /document HTTP/1.1\r\nHost: bench\r\n\r\n";
  static constexpr std::string_view end_of_head = "\r\n\r\n";
  asio::write(from, asio::buffer(request));
  received_.resize(std::size_t{64} << 10);
  std::size_t body = std::string_view::npos;  // bytes of it so far, once the head is over
  std::string head;
  while (body != bytes) {
    const std::size_t count = from.read_some(asio::buffer(received_));
    if (body != std::string_view::npos) {
      body += count;
      continue;
    }
    head.append(received_.data(), count);
    if (const std::size_t end = head.find(end_of_head); end != std::string::npos)
      body = head.size() - end - end_of_head.size();
  }
}

}  // namespace slabbuf::bench
