// SPDX-License-Identifier: MIT
// One question: what does an echoed datagram cost the server, in batches and one by one?
//
// | counter of datagrams/echo | a server thread that does this                                           |
// |---------------------------|--------------------------------------------------------------------------|
// | bare_us                   | recvmmsg (blocking) and sendmmsg, the same memory again and again        |
// | bare_epoll_us             | the same after epoll_wait, as a server of many sockets has to            |
// | udp_batch_us              | net::async_receive, net::async_send: batches of 64, blocks of 2 KiB      |
// | coalescing_us             | the same with {.coalesce = true}, blocks of 64 KiB                       |
// | asio_us                   | async_receive_from, async_send_to, one buffer                            |
//
// Processor time of the server's thread per datagram, user and system. Each has four clients with in_flight datagrams
// of 200 B on their way: so many are sent from each of four sockets, then the answers are taken. All servers stand at
// the same time and get a few rounds in turn, so that a slow moment of the machine hits all alike. `batch` is the
// datagrams a receive of udp_batch got, `ratio` is udp_batch_us to bare_us, `coalescing_ratio` coalescing_us to that.
//
// With clients_coalesce:1 the clients send their datagrams in one message that the kernel cuts (UDP_SEGMENT), and take
// what it has joined (UDP_GRO), as a peer behind a network card that does both would look; with 0 one by one.
#include "net/server_cpu.hpp"

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/udp_batch.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <asio/basic_datagram_socket.hpp>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

using udp = asio::ip::udp;
using server_socket = asio::basic_datagram_socket<udp, asio::io_context::executor_type>;

constexpr std::size_t clients = 4;
constexpr std::size_t in_flight_max = 64;
constexpr std::size_t datagram_bytes = 200;
constexpr std::size_t rounds = 5;  // of a server, before it is the next one's turn
constexpr std::size_t batch_max = 64;
constexpr std::size_t block_bytes = 2048;

// A datagram of one byte ends a server.
bool is_end(std::size_t bytes) { return bytes == 1; }

// What a server did.
struct tally {
  std::size_t receives = 0;
  std::size_t datagrams = 0;
};

template <bool coalesce>
struct batch_server {
  explicit batch_server(server_socket& of, asio::io_context& io) : socket(of), context(io) {}

  tally run() {
    receive();
    context.run();
    return done;
  }
  void receive() {
    net::async_receive(socket, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t count) {
                         if (ec) return;
                         ++done.receives;
                         for (const net::udp_datagram& each : batch) done.datagrams += each.count();
                         if (!is_end(batch[count - 1].bytes.size())) send();
                       }));
  }
  void send() {
    net::async_send(socket, batch, net::bind_pool(pool, [this](asio::error_code ec, std::size_t) {
                      if (!ec) receive();
                    }));
  }

  server_socket& socket;
  asio::io_context& context;
  local_pool pool;
  net::udp_batch batch{pool, {.datagrams_max = batch_max, .datagram_bytes_max = block_bytes, .coalesce = coalesce}};
  tally done;
};

// The least that can be done: everything that can be set up once is.
template <bool polled>
struct bare_server {
  bare_server(server_socket& of, asio::io_context&) : descriptor(of.native_handle()) {
    for (std::size_t index = 0; index < batch_max; ++index) {
      vectors[index] = {memory.data() + index * block_bytes, block_bytes};
      ::msghdr& header = headers[index].msg_hdr;
      header.msg_iov = &vectors[index];
      header.msg_iovlen = 1;
      header.msg_name = &peers[index];
      header.msg_namelen = sizeof(::sockaddr_in);
    }
  }

  tally run() {
    tally done;
    const int poller = ::epoll_create1(EPOLL_CLOEXEC);
    ::epoll_event event{.events = EPOLLIN, .data = {}};
    if (polled) ::epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
    for (;;) {
      if (polled) ::epoll_wait(poller, &event, 1, -1);
      const int got =
          ::recvmmsg(descriptor, headers.data(), batch_max, polled ? MSG_DONTWAIT : MSG_WAITFORONE, nullptr);
      if (got <= 0) continue;
      ++done.receives;
      done.datagrams += static_cast<std::size_t>(got);
      if (is_end(headers[static_cast<std::size_t>(got) - 1].msg_len)) break;
      for (std::size_t index = 0; index < static_cast<std::size_t>(got); ++index) {
        vectors[index].iov_len = headers[index].msg_len;
      }
      ::sendmmsg(descriptor, headers.data(), static_cast<unsigned>(got), 0);
      for (std::size_t index = 0; index < static_cast<std::size_t>(got); ++index) {
        vectors[index].iov_len = block_bytes;
      }
    }
    ::close(poller);
    return done;
  }

  int descriptor;
  std::vector<std::byte> memory = std::vector<std::byte>(batch_max * block_bytes);
  std::array<::sockaddr_in, batch_max> peers{};
  std::array<::iovec, batch_max> vectors{};
  std::array<::mmsghdr, batch_max> headers{};
};

struct asio_server {
  asio_server(server_socket& of, asio::io_context& io) : socket(of), context(io) {}

  tally run() {
    receive();
    context.run();
    return done;
  }
  void receive() {
    socket.async_receive_from(asio::buffer(memory), peer, [this](asio::error_code ec, std::size_t bytes) {
      if (ec) return;
      ++done.receives;
      ++done.datagrams;
      if (!is_end(bytes)) send(bytes);
    });
  }
  void send(std::size_t bytes) {
    socket.async_send_to(asio::buffer(memory, bytes), peer, [this](asio::error_code ec, std::size_t) {
      if (!ec) receive();
    });
  }

  server_socket& socket;
  asio::io_context& context;
  std::array<std::byte, block_bytes> memory{};
  udp::endpoint peer;
  tally done;
};

// A client's socket and its datagrams, in bare calls: what is measured is the server.
class client {
 public:
  client(const udp::endpoint& server, std::size_t in_flight, bool coalesces)
      : socket_(context_, udp::endpoint(udp::v4(), 0)), in_flight_(in_flight), coalesces_(coalesces && in_flight > 1) {
    socket_.connect(server);
    socket_.set_option(asio::socket_base::receive_buffer_size(1 << 20));
    const ::timeval limit{20, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (coalesces_) {
      const int on = 1;
      const int bytes = datagram_bytes;
      if (::setsockopt(socket_.native_handle(), IPPROTO_UDP, UDP_SEGMENT, &bytes, sizeof(bytes)) != 0 ||
          ::setsockopt(socket_.native_handle(), IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) != 0)
        throw std::runtime_error("the system neither cuts nor joins datagrams");
    }
    for (std::size_t index = 0; index < in_flight_; ++index) {
      vectors_[index] = {memory_.data() + index * datagram_bytes, datagram_bytes};
      headers_[index].msg_hdr.msg_iov = &vectors_[index];
      headers_[index].msg_hdr.msg_iovlen = 1;
    }
  }

  void send() {
    if (coalesces_) {
      const std::size_t bytes = in_flight_ * datagram_bytes;
      if (::send(socket_.native_handle(), memory_.data(), bytes, 0) != static_cast<::ssize_t>(bytes))
        throw std::runtime_error("the client could not send");
      return;
    }
    if (::sendmmsg(socket_.native_handle(), headers_.data(), static_cast<unsigned>(in_flight_), 0) !=
        static_cast<int>(in_flight_))
      throw std::runtime_error("the client could not send");
  }
  void receive() {
    for (std::size_t got = 0; got < in_flight_;) got += coalesces_ ? receive_joined() : receive_some(in_flight_ - got);
  }
  void end() { socket_.send(asio::buffer("x", 1)); }

 private:
  std::size_t receive_joined() {
    const ::ssize_t bytes = ::recv(socket_.native_handle(), memory_.data(), memory_.size(), 0);
    if (bytes <= 0) throw std::runtime_error("a datagram was lost");
    return static_cast<std::size_t>(bytes) / datagram_bytes;
  }
  std::size_t receive_some(std::size_t wanted) {
    const int count =
        ::recvmmsg(socket_.native_handle(), headers_.data(), static_cast<unsigned>(wanted), MSG_WAITFORONE, nullptr);
    if (count <= 0) throw std::runtime_error("a datagram was lost");
    return static_cast<std::size_t>(count);
  }

  asio::io_context context_;
  udp::socket socket_;
  std::size_t in_flight_;
  bool coalesces_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(in_flight_max * datagram_bytes);
  std::array<::iovec, in_flight_max> vectors_{};
  std::array<::mmsghdr, in_flight_max> headers_{};
};

// What the benchmark sees of a server and its clients.
class subject {
 public:
  subject() = default;
  subject(const subject&) = delete;
  subject& operator=(const subject&) = delete;
  virtual ~subject() = default;

  void exchange() {
    for (const auto& each : clients_) each->send();
    for (const auto& each : clients_) each->receive();
  }
  virtual void finish() = 0;
  double us_per_datagram() const { return cpu_us_ / static_cast<double>(done_.datagrams); }
  double batch() const { return static_cast<double>(done_.datagrams) / static_cast<double>(done_.receives); }

 protected:
  std::vector<std::unique_ptr<client>> clients_;
  double cpu_us_ = 0;
  tally done_;
};

template <class Server>
class subject_of final : public subject {
 public:
  subject_of(std::size_t in_flight, bool clients_coalesce) {
    socket_.set_option(asio::socket_base::receive_buffer_size(1 << 20));
    for (std::size_t index = 0; index < clients; ++index) {
      clients_.push_back(std::make_unique<client>(socket_.local_endpoint(), in_flight, clients_coalesce));
    }
    thread_ = std::jthread([this] {
      const auto server = std::make_unique<Server>(socket_, context_);
      const double before_us = bench::cpu_us();
      done_ = server->run();
      cpu_us_ = bench::cpu_us() - before_us;
    });
  }
  subject_of(const subject_of&) = delete;
  subject_of& operator=(const subject_of&) = delete;
  ~subject_of() override { subject_of::finish(); }

  void finish() override {
    if (!thread_.joinable()) return;
    clients_.front()->end();
    thread_.join();
  }

 private:
  asio::io_context context_{1};
  server_socket socket_{context_, udp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::jthread thread_;
};

void echo(benchmark::State& state) {
  const auto in_flight = static_cast<std::size_t>(state.range(0));
  const bool clients_coalesce = state.range(1) != 0;
  try {
    subject_of<bare_server<false>> bare(in_flight, clients_coalesce);
    subject_of<bare_server<true>> bare_epoll(in_flight, clients_coalesce);
    subject_of<batch_server<false>> batch(in_flight, clients_coalesce);
    subject_of<batch_server<true>> coalescing(in_flight, clients_coalesce);
    subject_of<asio_server> stock(in_flight, clients_coalesce);
    const std::array<subject*, 5> all{&bare, &bare_epoll, &batch, &coalescing, &stock};
    for ([[maybe_unused]] auto _ : state) {
      for (subject* const each : all) {
        for (std::size_t round = 0; round < rounds; ++round) each->exchange();
      }
    }
    for (subject* const each : all) each->finish();
    state.counters["bare_us"] = bare.us_per_datagram();
    state.counters["bare_epoll_us"] = bare_epoll.us_per_datagram();
    state.counters["udp_batch_us"] = batch.us_per_datagram();
    state.counters["coalescing_us"] = coalescing.us_per_datagram();
    state.counters["asio_us"] = stock.us_per_datagram();
    state.counters["ratio"] = batch.us_per_datagram() / bare.us_per_datagram();
    state.counters["coalescing_ratio"] = coalescing.us_per_datagram() / batch.us_per_datagram();
    state.counters["batch"] = batch.batch();
  } catch (const std::runtime_error& fault) {
    state.SkipWithError(fault.what());
  }
}
BENCHMARK(echo)
    ->Name("datagrams/echo")
    ->ArgNames({"in_flight", "clients_coalesce"})
    ->Args({in_flight_max, 0})
    ->Args({in_flight_max, 1})
    ->Args({1, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slabbuf
