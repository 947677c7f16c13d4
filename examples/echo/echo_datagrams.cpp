// SPDX-License-Identifier: MIT
#include "echo/echo_datagrams.hpp"

#include "echo/echo_shard.hpp"

#include <slabbuf/net/net.hpp>

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <asio/bind_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

// The largest a datagram can be, so that none is cut off, and as many as fit into a thread's cache.
constexpr std::size_t datagram_bytes_max = 65'535;
constexpr std::size_t datagrams_max = 32;

// What the system keeps for a burst while the shard is busy; its default is a fifth of that.
constexpr int receive_buffer_bytes = 1 << 20;

// After an error of the socket that is not about one datagram.
constexpr auto error_pause = 100ms;

// Datagrams that keep coming must not keep the server from ending.
constexpr auto drain_limit = 250ms;

// Blocks are of the largest datagram's size anyway, so letting the system join and cut costs no memory.
net::udp_batch_options batch_options(std::size_t block_bytes_max) {
  return {.datagrams_max = datagrams_max,
          .datagram_bytes_max = std::min(datagram_bytes_max, block_bytes_max),
          .coalesce = block_bytes_max >= datagram_bytes_max};
}

using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

}  // namespace

echo_datagrams::echo_datagrams(echo_shard& shard, const asio::ip::udp::endpoint& endpoint)
    : shard_(shard),
      socket_(shard.context_),
      timer_(shard.context_),
      batch_(shard.shared_.buffers, batch_options(shard.shared_.buffers.block_bytes_max())) {
  socket_.open(endpoint.protocol());
  socket_.set_option(reuse_port(true));
  asio::error_code ignored;  // the system may allow less
  socket_.set_option(asio::socket_base::receive_buffer_size(receive_buffer_bytes), ignored);
  socket_.bind(endpoint);
  socket_.non_blocking(true);
}

// The next batch, or the end.
void echo_datagrams::next() {
  busy_ = false;
  const bool over = draining_ && (!has_datagrams() || std::chrono::steady_clock::now() > drain_until_);
  if (over || !socket_.is_open()) {
    abort();
    batch_.clear();
    ended_ = true;
    return shard_.datagrams_ended();
  }
  net::async_receive(socket_, batch_,
                     net::bind_pool(shard_.handlers_, [this](asio::error_code ec, std::size_t) { on_received(ec); }));
  busy_ = true;
}

void echo_datagrams::on_received(const asio::error_code& ec) {
  busy_ = false;
  if (ec == asio::error::no_buffer_space) return wait_for_budget();
  if (ec == asio::error::operation_aborted) return next();
  if (ec) return pause(ec);
  std::size_t cut_count = 0;
  to_send_bytes_ = 0;
  for (net::udp_datagram& each : batch_) {
    shard_.counters_.datagrams.add(each.count());
    shard_.counters_.received_bytes.add(each.bytes.size());
    if (!each.truncated) to_send_bytes_ += each.bytes.size();
    // Half an echo is none.
    if (!each.truncated) continue;
    cut_count += each.count();
    each.bytes.release();
  }
  if (cut_count != 0)
    log_unanswered(
        cut_count,
        "they came without all of their bytes: they are larger than a block, or joined in a way that was not told");
  net::async_send(socket_, batch_,
                  net::bind_pool(shard_.handlers_, [this](asio::error_code, std::size_t) { on_sent(); }));
  busy_ = true;
}

void echo_datagrams::on_sent() {
  std::size_t refused_count = 0;
  asio::error_code why;
  for (const net::udp_datagram& each : batch_) {
    to_send_bytes_ -= each.bytes.size() - each.sent_bytes;  // it is still there
    if (!each.error) continue;
    refused_count += each.count();
    why = each.error;
  }
  shard_.counters_.sent_bytes.add(to_send_bytes_);
  if (refused_count != 0) log_unanswered(refused_count, why.message());
  next();
}

// Datagrams have arrived and there is no room for them: they stay in the socket until it is this shard's turn.
void echo_datagrams::wait_for_budget() {
  net::async_acquire(shard_.shared_.buffers, batch_.datagram_bytes_max(),
                     asio::bind_executor(socket_.get_executor(),
                                         net::bind_pool(shard_.handlers_, [this](asio::error_code ec, buffer granted) {
                                           busy_ = false;
                                           if (ec) return pause(ec);
                                           batch_.grant(std::move(granted));
                                           next();
                                         })));
  busy_ = true;
}

void echo_datagrams::pause(const asio::error_code& why) {
  if (socket_.is_open()) spdlog::warn("receiving datagrams pauses: {}", why.message());
  timer_.expires_after(error_pause);
  timer_.async_wait([this](asio::error_code) { next(); });
  busy_ = true;
}

void echo_datagrams::drain() {
  draining_ = true;
  drain_until_ = std::chrono::steady_clock::now() + drain_limit;
  timer_.cancel();
  asio::error_code ignored;
  socket_.cancel(ignored);  // a wait ends; a send that waits for room gives up
}

void echo_datagrams::abort() noexcept {
  asio::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
}

void echo_datagrams::revive() {
  if (!busy_ && !ended_) pause(asio::error::no_memory);
}

bool echo_datagrams::has_datagrams() noexcept {
  std::array<char, 1> byte{};
  asio::error_code ec;
  asio::ip::udp::endpoint from;
  socket_.receive_from(asio::buffer(byte), from, asio::socket_base::message_peek, ec);
  return !ec;
}

// One line a second at most, however many there are.
void echo_datagrams::log_unanswered(std::size_t count, const std::string& why) {
  unanswered_count_ += count;
  const auto now = std::chrono::steady_clock::now();
  if (now - unanswered_logged_at_ < 1s) return;
  unanswered_logged_at_ = now;
  spdlog::warn("unanswered datagrams: {} ({})", std::exchange(unanswered_count_, 0), why);
}

}  // namespace slabbuf::examples
