// SPDX-License-Identifier: MIT
// One question: what does it cost to send one message of 16 KiB to 1,000 sockets, in time and in memory?
//
// | counter        | a server thread that does this for each message                                              |
// |----------------|----------------------------------------------------------------------------------------------|
// | bare_*         | send() from one array to each socket                                                         |
// | asio_shared_*  | makes a std::shared_ptr of a vector; asio::async_write, whose handler keeps it: the usual way |
// | asio_copy_*    | asio::async_write of a vector of each socket's own, which the handler keeps                  |
// | slabbuf_*      | takes a block of a pool; net::async_write of a shared_slice of it                            |
//
// *_us is processor time of the server's thread per message delivered. *_KiB is what the program holds when all writes
// have begun and no handler has run, the state of the operations included: growth of the heap and of the pool's buffers
// in use. `ratio` is slabbuf_us to asio_shared_us, `bare` slabbuf_us to bare_us. The sockets' buffers take a whole
// message, and are emptied when nothing is measured, on the same thread. The programs take turns of one message, each
// over sockets of its own, so that a slow moment of the machine hits all alike.
#include "net/loopback.hpp"
#include "net/memory_held.hpp"
#include "net/server_cpu.hpp"

#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/local_pool.hpp>
#include <slabbuf/pool/shared_slice.hpp>

#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

constexpr std::size_t receivers = 1'000;
constexpr std::size_t payload_bytes = std::size_t{16} << 10;

const std::vector<std::byte>& payload() {
  static const std::vector<std::byte> bytes(payload_bytes, std::byte{'x'});
  return bytes;
}

// A server with a connection to each receiver.
class sender {
 public:
  sender() = default;
  sender(const sender&) = delete;
  sender& operator=(const sender&) = delete;
  virtual ~sender() = default;

  void take_turn() {
    delivered_ = 0;
    const double before_us = cpu_us();
    begin();
    finish();
    cpu_us_ += cpu_us() - before_us;
    ++turns_;
    empty_sockets();
  }
  // A turn that looks at memory; what it costs does not count.
  void look() {
    delivered_ = 0;
    const double before = held_bytes();
    begin();
    held_kib_ = (held_bytes() - before) / 1024;
    finish();
    empty_sockets();
  }
  double us_per_delivery() const { return cpu_us_ / static_cast<double>(turns_ * receivers); }
  double held_kib() const { return held_kib_; }

 protected:
  // Sends the message to every receiver; on_sent() for each, then or in finish().
  virtual void begin() = 0;
  void on_sent(std::size_t bytes) {
    if (bytes == payload_bytes) ++delivered_;
  }

  local_pool pool_;  // outlives the operations in the context
  asio::io_context context_{1};
  std::vector<connection> connections_ = connect(context_, receivers);

 private:
  double held_bytes() const { return static_cast<double>(heap_bytes_held() + pool_.stats().in_use_bytes); }
  void finish() {
    context_.restart();
    context_.run();
    if (delivered_ != receivers) throw std::runtime_error("a message was not delivered");
  }
  void empty_sockets() {
    for (connection& each : connections_) {
      // The kernel drops the bytes.
      if (::recv(each.client.native_handle(), nullptr, payload_bytes, MSG_TRUNC | MSG_WAITALL) !=
          static_cast<::ssize_t>(payload_bytes))
        throw std::runtime_error("a message came in part");
    }
  }

  std::size_t delivered_ = 0;
  std::size_t turns_ = 0;
  double cpu_us_ = 0;
  double held_kib_ = 0;
};

class bare_sender final : public sender {
  void begin() override {
    for (connection& each : connections_) {
      const ::ssize_t sent =
          ::send(each.server.native_handle(), payload().data(), payload_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
      on_sent(static_cast<std::size_t>(sent));
    }
  }
};

class asio_shared_sender final : public sender {
  void begin() override {
    const auto message = std::make_shared<std::vector<std::byte>>(payload());
    for (connection& each : connections_) {
      asio::async_write(each.server, asio::buffer(*message),
                        [this, message](asio::error_code, std::size_t bytes) { on_sent(bytes); });
    }
  }
};

class asio_copy_sender final : public sender {
  void begin() override {
    for (connection& each : connections_) {
      auto message = std::make_unique<std::vector<std::byte>>(payload());
      const asio::const_buffer bytes = asio::buffer(*message);
      asio::async_write(each.server, bytes,
                        [this, message = std::move(message)](asio::error_code, std::size_t count) { on_sent(count); });
    }
  }
};

class slabbuf_sender final : public sender {
  void begin() override {
    buffer filled = pool_.acquire(payload_bytes);
    std::memcpy(filled.data(), payload().data(), payload_bytes);
    shared_slice message(std::move(filled));
    for (connection& each : connections_) {
      net::async_write(each.server, message.share(),
                       net::bind_pool(pool_, [this](asio::error_code, std::size_t bytes) { on_sent(bytes); }));
    }
  }
};

void fan_out(benchmark::State& state) try {
  allow_descriptors(receivers * 2 * 4 + 100);
  bare_sender bare;
  asio_shared_sender stock_shared;
  asio_copy_sender stock_copy;
  slabbuf_sender ours;
  const std::array<std::pair<const char*, sender*>, 4> all{
      {{"bare", &bare}, {"asio_shared", &stock_shared}, {"asio_copy", &stock_copy}, {"slabbuf", &ours}}};
  for (const auto& each : all) each.second->look();
  for ([[maybe_unused]] auto _ : state) {
    for (const auto& each : all) each.second->take_turn();
  }
  for (const auto& [name, each] : all) {
    state.counters[std::string(name) + "_us"] = each->us_per_delivery();
    state.counters[std::string(name) + "_KiB"] = each->held_kib();
  }
  state.counters["ratio"] = ours.us_per_delivery() / stock_shared.us_per_delivery();
  state.counters["bare"] = ours.us_per_delivery() / bare.us_per_delivery();
} catch (const std::runtime_error& fault) {
  state.SkipWithError(fault.what());
}
BENCHMARK(fan_out)->Name("fan_out/16KiB_to_1000")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf::bench
