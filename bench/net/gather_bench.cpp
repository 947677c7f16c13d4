// SPDX-License-Identifier: MIT
// One question: what does it cost to write 1 MiB that lies in many blocks, and how fast does it go?
//
// | counter                 | a server thread that writes the same blocks again and again                         |
// |-------------------------|-------------------------------------------------------------------------------------|
// | bare_*                  | sendmsg of up to 64 blocks, poll when the socket is full                            |
// | asio_*                  | asio::async_write of a const_chain_view, as it comes: 16 blocks and 64 KiB a call   |
// | asio_16MiB_*            | the same with a completion condition of 16 MiB: 16 blocks a call                    |
// | slabbuf_*               | net::async_write of a chain that shares the blocks                                  |
// | slabbuf_acquired_*      | the same of blocks taken from the pool for each write, and not filled               |
//
// *_us is processor time of the server's thread per MiB, *_MiB_s is from the first call to the last byte taken by the
// client. `speed` is slabbuf_MiB_s to asio_MiB_s, `cost` slabbuf_us to asio_us, `bare` slabbuf_us to bare_us. The
// blocks are never filled anew and the client has the kernel drop the bytes (MSG_TRUNC), as if it were another machine:
// what is measured is the way from the blocks into the socket.
// Server and client are kept on one processor (`processors:1`) or on one each: where the scheduler puts them changes
// the server's part by a factor of more than two, and which program is faster. The programs take turns of 16 MiB over a
// connection each, so that a slow moment of the machine hits all alike.
#include "net/loopback.hpp"
#include "net/server_cpu.hpp"

#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/chain_view.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <asio/completion_condition.hpp>
#include <asio/io_context.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <semaphore>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf::bench {
namespace {

constexpr std::size_t write_bytes = std::size_t{1} << 20;
constexpr std::size_t writes_per_turn = 16;
constexpr std::size_t blocks_per_call = 64;

buffer_chain blocks_of(local_pool& pool, std::size_t block_bytes) {
  buffer_chain chain;
  while (chain.size() < write_bytes) chain.append(pool.acquire(block_bytes));
  return chain;
}

// Numbers of the processors that the calling thread may run on.
std::vector<std::size_t> processors_allowed() {
  ::cpu_set_t allowed;
  ::sched_getaffinity(0, sizeof(allowed), &allowed);
  std::vector<std::size_t> numbers;
  for (std::size_t number = 0; number < CPU_SETSIZE; ++number) {
    if (CPU_ISSET(number, &allowed)) numbers.push_back(number);
  }
  return numbers;
}

// Keeps the calling thread on one processor, and lets it go where it was allowed to be before.
class pinned {
 public:
  explicit pinned(std::size_t processor) {
    ::sched_getaffinity(0, sizeof(before_), &before_);
    ::cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    ::sched_setaffinity(0, sizeof(only), &only);
  }
  pinned(const pinned&) = delete;
  pinned& operator=(const pinned&) = delete;
  ~pinned() { ::sched_setaffinity(0, sizeof(before_), &before_); }

 private:
  ::cpu_set_t before_;
};

// A server with one connection, and the client at its other end.
class writer {
 public:
  writer() = default;
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;
  virtual ~writer() = default;

  void take_turn(std::size_t client_processor) {
    std::binary_semaphore ready(0);
    std::jthread client([this, client_processor, &ready] {
      const pinned here(client_processor);
      ready.release();
      drain();
    });
    ready.acquire();
    const auto started = std::chrono::steady_clock::now();
    const double before_us = cpu_us();
    write(writes_per_turn);
    cpu_us_ += cpu_us() - before_us;
    client.join();
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    written_mib_ += static_cast<double>(writes_per_turn * write_bytes) / (1 << 20);
  }
  double us_per_mib() const { return cpu_us_ / written_mib_; }
  double mib_per_s() const { return written_mib_ / seconds_; }

 protected:
  virtual void write(std::size_t times) = 0;

  local_pool pool_;  // outlives the operations in the context
  asio::io_context context_{1};
  connection connection_ = std::move(connect(context_, 1).front());

 private:
  void drain() {
    constexpr std::size_t most_bytes = std::size_t{1} << 20;
    for (std::size_t left = writes_per_turn * write_bytes; left != 0;) {
      const ::ssize_t got = ::recv(connection_.client.native_handle(), nullptr, std::min(left, most_bytes), MSG_TRUNC);
      if (got <= 0) return;
      left -= static_cast<std::size_t>(got);
    }
  }

  double cpu_us_ = 0;
  double seconds_ = 0;
  double written_mib_ = 0;
};

class bare_writer final : public writer {
 public:
  explicit bare_writer(std::size_t block_bytes) : memory_(write_bytes), block_bytes_(block_bytes) {
    connection_.server.native_non_blocking(true);
  }

 private:
  void write(std::size_t times) override {
    for (; times != 0; --times) {
      std::vector<::iovec>& parts = parts_;
      parts.clear();
      for (std::size_t at = 0; at < write_bytes; at += block_bytes_) parts.push_back({&memory_[at], block_bytes_});
      for (std::span<::iovec> left(parts); !left.empty();) left = left.subspan(send(left));
    }
  }

  // Returns how many parts were sent whole; of the next one, what was sent is cut off.
  std::size_t send(std::span<::iovec> parts) {
    ::msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min(parts.size(), blocks_per_call);
    const ::ssize_t sent = ::sendmsg(connection_.server.native_handle(), &message, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) throw std::runtime_error("the client has gone");
      ::pollfd room{.fd = connection_.server.native_handle(), .events = POLLOUT, .revents = 0};
      ::poll(&room, 1, -1);
      return 0;
    }
    std::size_t whole = 0;
    auto left = static_cast<std::size_t>(sent);
    while (left != 0 && left >= parts[whole].iov_len) left -= parts[whole++].iov_len;
    if (left != 0) {
      parts[whole].iov_base = static_cast<std::byte*>(parts[whole].iov_base) + left;
      parts[whole].iov_len -= left;
    }
    return whole;
  }

  std::vector<std::byte> memory_;
  std::size_t block_bytes_;
  std::vector<::iovec> parts_;
};

// The Asio way to write a number of times: each handler begins the next write.
class context_writer : public writer {
 protected:
  // Called for each write there is to begin; on_written() when it is done.
  virtual void begin() = 0;
  void on_written(asio::error_code ec) {
    if (!ec && --left_ != 0) begin();
  }

 private:
  void write(std::size_t times) override {
    left_ = times;
    begin();
    context_.restart();
    context_.run();
    if (left_ != 0) throw std::runtime_error("a write failed");
  }

  std::size_t left_ = 0;
};

template <class Condition>
class asio_writer final : public context_writer {
 public:
  asio_writer(std::size_t block_bytes, Condition condition)
      : chain_(blocks_of(pool_, block_bytes)), condition_(condition) {}

 private:
  void begin() override {
    asio::async_write(connection_.server, net::const_chain_view(chain_), condition_,
                      [this](asio::error_code ec, std::size_t) { on_written(ec); });
  }

  buffer_chain chain_;
  Condition condition_;
};

std::size_t in_one_step(const asio::error_code& ec, std::size_t) { return ec ? 0 : std::size_t{16} << 20; }

class slabbuf_writer : public context_writer {
 public:
  explicit slabbuf_writer(std::size_t block_bytes) : block_bytes_(block_bytes) {}

 protected:
  void begin_with(buffer_chain chain) {
    net::async_write(connection_.server, std::move(chain),
                     net::bind_pool(pool_, [this](asio::error_code ec, std::size_t) { on_written(ec); }));
  }

  std::size_t block_bytes_;
};

class sharing_writer final : public slabbuf_writer {
 public:
  explicit sharing_writer(std::size_t block_bytes)
      : slabbuf_writer(block_bytes), chain_(blocks_of(pool_, block_bytes)) {}

 private:
  void begin() override { begin_with(chain_.share(0, chain_.size())); }

  buffer_chain chain_;
};

class acquiring_writer final : public slabbuf_writer {
 public:
  using slabbuf_writer::slabbuf_writer;

 private:
  void begin() override { begin_with(blocks_of(pool_, block_bytes_)); }
};

void gather(benchmark::State& state) try {
  const auto block_bytes = static_cast<std::size_t>(state.range(0)) << 10;
  const auto processors = static_cast<std::size_t>(state.range(1));
  const std::vector<std::size_t> allowed = processors_allowed();
  if (allowed.size() < processors) throw std::runtime_error("there are not so many processors");
  const pinned here(allowed.front());
  bare_writer bare(block_bytes);
  asio_writer stock(block_bytes, asio::transfer_all());
  asio_writer stock_16mib(block_bytes, in_one_step);
  sharing_writer ours(block_bytes);
  acquiring_writer ours_acquired(block_bytes);
  const std::array<std::pair<const char*, writer*>, 5> all{{{"bare", &bare},
                                                            {"asio", &stock},
                                                            {"asio_16MiB", &stock_16mib},
                                                            {"slabbuf", &ours},
                                                            {"slabbuf_acquired", &ours_acquired}}};
  for ([[maybe_unused]] auto _ : state) {
    for (const auto& each : all) each.second->take_turn(allowed[processors - 1]);
  }
  for (const auto& [name, each] : all) {
    state.counters[std::string(name) + "_us"] = each->us_per_mib();
    state.counters[std::string(name) + "_MiB_s"] = each->mib_per_s();
  }
  state.counters["speed"] = ours.mib_per_s() / stock.mib_per_s();
  state.counters["cost"] = ours.us_per_mib() / stock.us_per_mib();
  state.counters["bare"] = ours.us_per_mib() / bare.us_per_mib();
} catch (const std::runtime_error& fault) {
  state.SkipWithError(fault.what());
}
BENCHMARK(gather)
    ->Name("gather/write_1MiB")
    ->ArgNames({"block_KiB", "processors"})
    ->ArgsProduct({{64, 16, 4}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf::bench
