// SPDX-License-Identifier: MIT
#include "load/datagram_load.hpp"

#include "common/command_line.hpp"
#include "load/client_socket.hpp"
#include "load/random_stream.hpp"

#include <fmt/format.h>
#include <asio/basic_datagram_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace slabbuf::bench {
namespace {

using clock = std::chrono::steady_clock;
using datagram_socket = asio::basic_datagram_socket<asio::ip::udp, asio::io_context::executor_type>;

// How often it looks for what is not answered.
constexpr std::chrono::milliseconds tick{100};

// One more than a datagram can have: an answer that is too long shows.
constexpr std::size_t receive_bytes = std::size_t{1} << 16;

// Datagrams this machine has dropped since it was started: full sockets, wrong checksums, full queues.
std::uint64_t kernel_drops() {
  std::uint64_t drops = 0;
  std::string line;
  std::ifstream snmp("/proc/net/snmp");
  std::vector<std::string> names;
  while (std::getline(snmp, line)) {
    if (!line.starts_with("Udp:")) continue;
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    if (names.empty()) {
      names = fields;
      continue;
    }
    for (std::size_t index = 0; index < std::min(names.size(), fields.size()); ++index) {
      if (names[index] == "InErrors") drops += std::stoull(fields[index]);
    }
  }
  std::ifstream snmp6("/proc/net/snmp6");
  for (std::string name, count; snmp6 >> name >> count;) {
    if (name == "Udp6InErrors") drops += std::stoull(count);
  }
  std::ifstream queues("/proc/net/softnet_stat");
  while (std::getline(queues, line)) {
    std::istringstream words(line);
    std::uint64_t processed = 0;
    std::uint64_t dropped = 0;
    if (words >> std::hex >> processed >> dropped) drops += dropped;
  }
  return drops;
}

// What all sockets share.
struct load {
  explicit load(const datagram_options& chosen) : options(chosen), scratch(chosen.datagram_bytes) {}

  const datagram_options& options;
  asio::io_context io{1};
  std::vector<std::byte> scratch;  // the datagram that is being sent
  datagram_result result;
  std::uint64_t sent = 0;      // datagrams, sent again or not
  std::uint64_t answered = 0;  // of these
  std::string failure;         // the first; later ones are its consequences

  void fail(std::string reason) {
    if (failure.empty()) failure = std::move(reason);
    io.stop();
  }
};

class window {
 public:
  window(load& of, std::size_t index, std::uint64_t datagrams)
      : load_(of),
        index_(index),
        datagrams_(datagrams),
        key_(mix(mix(of.options.seed) ^ index)),
        stream_(of.options.seed, index),
        socket_(of.io, asio::ip::udp::endpoint(of.options.target.protocol(), 0)),
        answer_(receive_bytes),
        slots_(std::min<std::uint64_t>(of.options.in_flight, datagrams)) {
    socket_.connect(of.options.target);
    for (std::size_t first = 0; first < slots_.size(); ++first) slots_[first].number = first;
  }

  void start() {
    for (slot& each : slots_) send(each);
    receive();
  }

  void resend(clock::time_point now) {
    for (slot& each : slots_) {
      if (each.number >= datagrams_ || now - each.sent_at < datagram_patience) continue;
      ++load_.result.resent;
      send(each);
    }
  }

  bool finished() const noexcept { return verified_ == datagrams_; }
  std::string progress() const {
    return fmt::format("socket {}: {} of {} datagrams came back", index_, verified_, datagrams_);
  }

 private:
  // Sends its own arithmetic sequence of numbers: the slot of a number is number % slots.
  struct slot {
    std::uint64_t number;
    clock::time_point sent_at;
  };

  void send(slot& from) {
    const std::span<std::byte> datagram = load_.scratch;
    const std::uint64_t header = from.number ^ key_;
    std::memcpy(datagram.data(), &header, sizeof(header));
    stream_.fill(from.number * datagram.size(), datagram.subspan(sizeof(header)));
    asio::error_code ec;
    from.sent_at = clock::now();
    socket_.send(asio::buffer(datagram.data(), datagram.size()), 0, ec);
    if (ec) return fail(fmt::format("cannot send: {}", ec.message()));
    ++load_.sent;
  }

  void receive() {
    socket_.async_receive(asio::buffer(answer_), [this](asio::error_code ec, std::size_t size) {
      if (ec) return fail(ec.message());
      verify({answer_.data(), size});
      receive();
    });
  }

  void verify(std::span<const std::byte> got) {
    std::uint64_t number = 0;
    if (got.size() != load_.options.datagram_bytes) {
      return fail(fmt::format("{} bytes came back of {}", got.size(), load_.options.datagram_bytes));
    }
    std::memcpy(&number, got.data(), sizeof(number));
    number ^= key_;
    slot& of = slots_[number % slots_.size()];
    if (number > of.number || number >= datagrams_) return fail("a datagram came back that was never sent");
    const std::span<const std::byte> random = got.subspan(sizeof(number));
    const std::size_t same = stream_.first_difference(number * got.size(), random);
    if (same != random.size()) {
      return fail(fmt::format("byte {} of datagram {} came back as {:#04x}, expected {:#04x}", same + sizeof(number),
                              number, std::to_integer<unsigned>(random[same]),
                              std::to_integer<unsigned>(stream_.at(number * got.size() + same))));
    }
    ++load_.answered;
    if (number < of.number) return;  // it had been sent twice
    load_.result.latency.record(clock::now() - of.sent_at);
    ++load_.result.datagrams;
    ++verified_;
    of.number += slots_.size();
    if (of.number < datagrams_) send(of);
  }

  void fail(const std::string& reason) {
    load_.fail(fmt::format("socket {}: after {} of {} datagrams verified: {}", index_, verified_, datagrams_, reason));
  }

  load& load_;
  const std::size_t index_;
  const std::uint64_t datagrams_;  // its share
  const std::uint64_t key_;        // scrambles numbers: another socket's datagram has none of ours
  const random_stream stream_;
  datagram_socket socket_;
  std::vector<std::byte> answer_;
  std::vector<slot> slots_;
  std::uint64_t verified_ = 0;
};

// Expires every `tick`, so that run_one() returns by then. Not run_one_until(): see client_socket.cpp.
class ticker {
 public:
  explicit ticker(asio::io_context& io) : timer_(io.get_executor()) { start(); }

 private:
  void start() {
    timer_.expires_after(tick);
    timer_.async_wait([this](asio::error_code ec) {
      if (!ec) start();
    });
  }

  asio::basic_waitable_timer<clock, asio::wait_traits<clock>, asio::io_context::executor_type> timer_;
};

// Waits for what was sent twice and may still be answered twice, but not for what is lost.
void wait_for_late_answers(load& run) {
  const clock::time_point until = clock::now() + datagram_patience;
  while (run.answered < run.sent && clock::now() < until && run.failure.empty()) run.io.run_one();
}

}  // namespace

datagram_result run_datagram_load(const datagram_options& options) {
  raise_open_files(options.sockets);
  const std::uint64_t drops_before = kernel_drops();
  load run(options);
  std::vector<std::unique_ptr<window>> windows;
  for (std::size_t index = 0; index < options.sockets; ++index) {
    const std::uint64_t extra = index < options.datagrams % options.sockets ? 1 : 0;
    windows.push_back(std::make_unique<window>(run, index, options.datagrams / options.sockets + extra));
  }

  const clock::time_point started = clock::now();
  const clock::time_point until = started + options.timeout;
  clock::time_point next_tick = started + tick;
  const ticker ticks(run.io);
  for (const auto& each : windows) each->start();
  while (run.failure.empty() && run.result.datagrams < options.datagrams) {
    run.io.run_one();
    const clock::time_point now = clock::now();
    if (now >= until && run.failure.empty()) {
      for (const auto& each : windows) {
        if (each->finished()) continue;
        throw std::runtime_error(fmt::format("not done after {} s: {}", options.timeout.count(), each->progress()));
      }
    }
    if (now < next_tick) continue;
    next_tick = now + tick;
    for (const auto& each : windows) each->resend(now);
  }
  const clock::time_point ended = clock::now();
  if (run.failure.empty() && run.result.resent != 0) wait_for_late_answers(run);
  if (!run.failure.empty()) throw std::runtime_error(run.failure);

  run.result.seconds = std::chrono::duration<double>(ended - started).count();
  run.result.lost = run.sent - run.answered;
  run.result.dropped = kernel_drops() - drops_before;
  if (options.target.address().is_loopback() && run.result.lost > run.result.dropped) {
    throw std::runtime_error(
        fmt::format("{} datagrams were lost, and the kernel dropped only {}", run.result.lost, run.result.dropped));
  }
  return run.result;
}

}  // namespace slabbuf::bench
