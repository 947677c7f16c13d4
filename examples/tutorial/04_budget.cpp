// SPDX-License-Identifier: MIT
// 4: a budget that is waited for. Three workers want the two buffers there are; the third waits in line, and a
// fourth loses patience.
#include <slabbuf/net/net.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio.hpp>

#include <chrono>
#include <cstdio>

namespace net = slabbuf::net;
using namespace std::chrono_literals;

int main() {
  slabbuf::local_pool pool({.budget_bytes_max = std::size_t{2} * 4096});
  asio::io_context context;
  int served = 0;

  for (int worker = 1; worker <= 3; ++worker) {
    const auto work = [&, worker](asio::error_code ec, slabbuf::buffer bytes) {
      if (ec) return;
      std::printf("worker %d has %zu bytes\n", worker, bytes.size());
      ++served;
      const auto pause = std::make_shared<asio::steady_timer>(context, 20ms);
      pause->async_wait([pause, bytes = std::move(bytes)](asio::error_code) {});  // held until then
    };
    net::async_acquire(pool, 4096, asio::bind_executor(context, work));
  }

  asio::cancellation_signal patience;
  bool gave_up = false;
  net::async_acquire(pool, std::size_t{2} * 4096,
                     asio::bind_cancellation_slot(
                         patience.slot(), asio::bind_executor(context, [&](asio::error_code ec, slabbuf::buffer) {
                           gave_up = ec == asio::error::operation_aborted;
                           std::printf("the fourth: %s\n", ec.message().c_str());
                         })));
  asio::steady_timer deadline(context, 1ms);
  deadline.async_wait([&](asio::error_code) { patience.emit(asio::cancellation_type::terminal); });

  context.run();
  std::printf("most bytes at once: %llu\n", static_cast<unsigned long long>(pool.stats().bytes_high_water));
  return served == 3 && gave_up && pool.stats().in_use == 0 ? 0 : 1;
}
