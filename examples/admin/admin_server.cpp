// SPDX-License-Identifier: MIT
#include "admin/admin_server.hpp"

#include "admin_assets.hpp"
#include "http/blocking_threads.hpp"
#include "http/http_host.hpp"
#include "http/http_server.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <thread>
#include <utility>

namespace slabbuf::examples {
namespace {

// An idle one takes no block, and not for long: those who keep them idle do not keep others out.
constexpr std::size_t connections_max = 1024;
constexpr std::chrono::seconds idle_timeout{10};
constexpr std::chrono::seconds head_timeout{5};
constexpr std::size_t budget_bytes_max = std::size_t{4} << 20;

// Everything is the page's own, nothing is inline, and no other page may show it in a frame.
constexpr std::string_view policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

class admin_handler final : public http_handler {
 public:
  admin_handler(const std::string& program, const admin_server::sampler& sample) : program_(program), sample_(sample) {}

  void handle(http_exchange_ptr exchange) override {
    const http_request& request = exchange->request();
    http_response& answer = exchange->response();
    if (request.method() != http_method::get && request.method() != http_method::head) {
      answer.add("Allow", "GET, HEAD");
      return http_exchange::respond(std::move(exchange), 405, "there is nothing to be changed here");
    }
    const std::string_view target = without_origin(request.target());
    const std::string_view path = target.substr(0, target.find('?'));
    for (const page& each : pages) {
      if (each.path != path) continue;
      answer.status = 200;
      answer.add("Content-Type", each.type);
      answer.add("Cache-Control", "no-store");
      answer.add("X-Content-Type-Options", "nosniff");
      answer.add("Referrer-Policy", "no-referrer");
      answer.add("Content-Security-Policy", policy);
      answer.body = http_body((this->*each.text)());
      return http_exchange::respond(std::move(exchange));
    }
    http_exchange::respond(std::move(exchange), 404, "there are /, /metrics, /stats and /healthz");
  }

 private:
  struct page {
    std::string_view path;
    std::string_view type;
    std::string (admin_handler::*text)() const;
  };
  static const std::array<page, 6> pages;

  admin_sample sample() const {
    admin_sample now = sample_();
    now.process = usage_of_this_process();
    return now;
  }
  std::string html() const { return std::string(asset::admin_html); }
  std::string style() const { return std::string(asset::admin_css); }
  std::string script() const { return std::string(asset::admin_js); }
  std::string metrics() const { return to_prometheus(sample()); }
  std::string stats() const { return to_json(program_, sample()); }
  std::string health() const { return "ok\n"; }

  const std::string& program_;
  const admin_server::sampler& sample_;
};

const std::array<admin_handler::page, 6> admin_handler::pages{{
    {"/", "text/html; charset=utf-8", &admin_handler::html},
    {"/admin.css", "text/css; charset=utf-8", &admin_handler::style},
    {"/admin.js", "text/javascript; charset=utf-8", &admin_handler::script},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", &admin_handler::metrics},
    {"/stats", "application/json", &admin_handler::stats},
    {"/healthz", "text/plain; charset=utf-8", &admin_handler::health},
}};

http_options options_for(const asio::ip::tcp::endpoint& address, std::vector<std::string> hosts) {
  http_options options;
  options.hosts = std::move(hosts);
  options.plain = address;
  options.plain_option = "--admin";
  options.limits.connections_max = connections_max;
  options.limits.idle_timeout = idle_timeout;
  options.limits.head_timeout = head_timeout;
  return options;
}

}  // namespace

class admin_server::state {
 public:
  state(const asio::ip::tcp::endpoint& address, std::string program, sampler sample, std::vector<std::string> hosts)
      : program_(std::move(program)),
        sample_(std::move(sample)),
        server_(options_for(address, std::move(hosts)), buffers_, disk_,
                [this](asio::io_context&) { return std::make_unique<admin_handler>(program_, sample_); }) {}
  ~state() {
    if (!thread_.joinable()) return;
    server_.drain();
    thread_.join();
  }

  asio::ip::tcp::endpoint endpoint() const { return *server_.plain_endpoint(); }

  void start() {
    server_.start();
    thread_ = std::thread([this] { server_.run(); });
  }

 private:
  const std::string program_;
  const sampler sample_;
  concurrent_pool buffers_{{.budget_bytes_max = budget_bytes_max}};
  blocking_threads disk_{1};  // no answer waits for one, but a server needs somebody to
  http_server server_;
  std::thread thread_;
};

admin_server::admin_server(const asio::ip::tcp::endpoint& address, std::string program, sampler sample,
                           std::vector<std::string> hosts)
    : state_(std::make_unique<state>(address, std::move(program), std::move(sample), std::move(hosts))) {}

admin_server::~admin_server() = default;

asio::ip::tcp::endpoint admin_server::endpoint() const { return state_->endpoint(); }

void admin_server::start() { state_->start(); }

}  // namespace slabbuf::examples
