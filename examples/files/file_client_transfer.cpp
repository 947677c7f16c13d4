// SPDX-License-Identifier: MIT
#include "files/file_client_transfer.hpp"

#include "common/command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

constexpr auto tick_period = 200ms;
constexpr std::chrono::milliseconds retry_first = 100ms;
constexpr std::chrono::milliseconds retry_max = 5s;

}  // namespace

std::optional<std::chrono::milliseconds> retry_policy::next() noexcept {
  if (attempts_ == attempts_max_) return std::nullopt;
  const auto doubled = retry_first * (1U << std::min<std::size_t>(attempts_, 10));
  return attempts_++ == 0 ? retry_first : std::min<std::chrono::milliseconds>(doubled, retry_max);
}

bool is_worth_a_retry(int status) noexcept {
  return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

std::string describe(const response_head& head) {
  return head.reason.empty() ? std::to_string(head.status) : fmt::format("{} {}", head.status, head.reason);
}

http_url redirect_target(const http_url& from, const response_head& head) {
  const std::string_view location = head.find("location");
  if (location.empty()) throw std::invalid_argument(describe(head) + " without a Location");
  http_url to = resolve_url(from, location);
  if (from.tls && !to.tls) throw std::invalid_argument("redirected from https to " + format_url(to) + ", not followed");
  return to;
}

transfer::transfer(client_setup& setup, http_url url, progress_display& display, end_handler on_end)
    : setup_(setup),
      asked_for_(format_url(url)),
      url_(std::move(url)),
      display_(display),
      on_end_(std::move(on_end)),
      ticker_(setup.context) {}

void transfer::start_ticking() {
  ticker_.expires_after(tick_period);
  ticker_.async_wait([this](const asio::error_code& ec) {
    if (!ec && !ended_) tick();
  });
}

void transfer::tick() {
  start_ticking();
  try {
    on_tick();
  } catch (const std::exception&) {
    end_with_current_exception();
  }
}

void transfer::end(transfer_end how) {
  if (std::exchange(ended_, true)) return;
  ticker_.cancel();
  const std::string more = stop(how);
  if (!more.empty()) how.message += "; " + more;
  on_end_(how);
}

void transfer::end_with_current_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    end({exit_failure, "not enough memory"});
  } catch (const std::exception& fault) {
    end({exit_failure, fault.what()});
  }
}

bool transfer::follow(const response_head& head) {
  try {
    http_url to = redirect_target(url_, head);
    if (redirects_++ == setup_.options.redirects) {
      end({exit_refused,
           fmt::format("more than {} redirects, the next one to {}", setup_.options.redirects, format_url(to))});
      return false;
    }
    url_ = std::move(to);
    return true;
  } catch (const std::invalid_argument& fault) {
    end({exit_refused, fault.what()});
    return false;
  }
}

}  // namespace slabbuf::examples
