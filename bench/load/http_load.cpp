// SPDX-License-Identifier: MIT
#include "load/http_load.hpp"

#include <fmt/format.h>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using examples::client_exchange;
using examples::client_setup;
using examples::exchange_end;
using examples::response_head;

constexpr auto progress_period = 200ms;

class http_load {
 public:
  explicit http_load(const http_options& options)
      : options_(options), setup_(options.client), request_{options.url, "GET", {{"Accept-Encoding", "identity"}}, 0} {
    for (std::size_t count = 0; count < options.client.connections; ++count)
      connections_.push_back(std::make_unique<connection>(*this));
  }

  http_result run() {
    asio::steady_timer limit(setup_.context, options_.timeout);
    limit.async_wait([this](const asio::error_code& ec) {
      if (!ec)
        fail(fmt::format("not done after {} s: {} of {} requests answered", options_.timeout.count(), result_.requests,
                         options_.requests));
    });
    asio::steady_timer progress(setup_.context);
    if (options_.progress) show(progress);
    connections_.front()->ask();
    setup_.context.run();
    for (const auto& each : connections_) each->close();
    if (options_.progress) fmt::print(stderr, "\r\033[K");
    if (!fault_.empty()) throw std::runtime_error(fault_);
    return result_;
  }

 private:
  enum class phase : std::uint8_t { first, connecting, measured };

  class connection final : public client_exchange {
   public:
    explicit connection(http_load& load)
        : load_(load), made_(std::make_shared<examples::client_connection>(load.setup_)) {}

    void ask() {
      status_ = 0;
      received_ = 0;
      differs_ = false;
      begun_ = clock::now();
      made_->exchange(load_.request_, *this);
    }
    void close() noexcept { made_->close(); }

   private:
    void on_interim(int) noexcept override {}
    void on_head(const response_head& head) noexcept override { status_ = head.status; }
    void on_body(std::span<const std::byte> bytes) noexcept override {
      if (!load_.takes(received_, bytes)) differs_ = true;
      received_ += bytes.size();
    }
    buffer next_body_bytes(std::size_t) noexcept override { return {}; }
    void on_end(const exchange_end& how) override {
      const auto latency = clock::now() - begun_;
      if (how.why != exchange_end::reason::complete) return load_.fail(how.message);
      if (status_ != 200) return load_.fail(fmt::format("the server answers {}", status_));
      load_.answered(*this, received_, differs_, latency);
    }

    http_load& load_;
    const std::shared_ptr<examples::client_connection> made_;
    clock::time_point begun_;
    std::uint64_t received_ = 0;
    int status_ = 0;
    bool differs_ = false;
  };

  // Bytes of an answer, from `position` on. False when the first answer had others there.
  bool takes(std::uint64_t position, std::span<const std::byte> bytes) noexcept {
    if (position >= compared_bytes_max) return true;
    const std::size_t count = std::min<std::size_t>(bytes.size(), compared_bytes_max - position);
    if (phase_ == phase::first) {
      try {
        expected_.insert(expected_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      } catch (const std::bad_alloc&) {
        fail("no memory for the answer that others are compared with");
      }
      return true;
    }
    return position + count <= expected_.size() && std::memcmp(expected_.data() + position, bytes.data(), count) == 0;
  }

  void answered(connection& by, std::uint64_t bytes, bool differs, clock::duration latency) {
    if (phase_ == phase::first) result_.body_bytes = bytes;
    if (differs || bytes != result_.body_bytes)
      return fail(fmt::format("an answer of {} bytes is not what the first one was, of {}", bytes, result_.body_bytes));
    if (phase_ != phase::measured) {
      if (--waiting_for_ == 0) next_phase();
      return;
    }
    result_.latency.record(latency);
    if (++result_.requests == options_.requests) return finish();
    if (asked_ < options_.requests) ask(by);
  }

  void next_phase() {
    if (phase_ == phase::first && connections_.size() > 1) {
      phase_ = phase::connecting;
      waiting_for_ = connections_.size() - 1;
      for (std::size_t index = 1; index < connections_.size(); ++index) connections_[index]->ask();
      return;
    }
    phase_ = phase::measured;
    began_ = clock::now();
    for (const auto& each : connections_) {
      if (asked_ < options_.requests) ask(*each);
    }
  }

  void ask(connection& by) {
    ++asked_;
    by.ask();
  }

  void finish() {
    result_.seconds = std::chrono::duration<double>(clock::now() - began_).count();
    setup_.context.stop();
  }

  void fail(const std::string& why) {
    if (fault_.empty()) fault_ = why;
    setup_.context.stop();
  }

  void show(asio::steady_timer& timer) {
    timer.expires_after(progress_period);
    timer.async_wait([this, &timer](const asio::error_code& ec) {
      if (ec) return;
      fmt::print(stderr, "\r\033[K{} of {} requests answered", result_.requests, options_.requests);
      show(timer);
    });
  }

  const http_options& options_;
  client_setup setup_;
  const examples::client_request request_;
  std::vector<std::unique_ptr<connection>> connections_;
  std::vector<std::byte> expected_;
  phase phase_ = phase::first;
  std::size_t waiting_for_ = 1;  // answers, until the next phase
  std::uint64_t asked_ = 0;      // of those that are measured
  clock::time_point began_;
  http_result result_;
  std::string fault_;
};

}  // namespace

http_result run_http_load(const http_options& options) { return http_load(options).run(); }

}  // namespace slabbuf::bench
