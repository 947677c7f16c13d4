// SPDX-License-Identifier: MIT
#include "load/echo_load.hpp"

#include "common/command_line.hpp"
#include "load/client_socket.hpp"
#include "load/random_stream.hpp"

#include <fmt/format.h>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf::bench {
namespace {

using clock = std::chrono::steady_clock;

// Connections a thread opens at the same time: far below any listen backlog, so that none is dropped and
// tried again a second later.
constexpr std::size_t connecting_max = 32;

// Most bytes one system call moves; a connection keeps a buffer of at most this.
constexpr std::size_t io_bytes_max = std::size_t{64} << 10;

class worker;

// What the threads tell the caller, and each other.
class run_state {
 public:
  explicit run_state(const echo_options& chosen)
      : options(chosen), unconnected_(chosen.connections), unfinished_(chosen.connections) {}

  const echo_options& options;

  /// True for the last connection of all.
  bool connected() noexcept { return unconnected_.fetch_sub(1) == 1; }

  void finished() {
    if (unfinished_.fetch_sub(1) != 1) return;
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_one();
  }

  /// The first reason counts; later ones are its consequences.
  void failed(std::string reason) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    reason_ = std::move(reason);
    changed_.notify_one();
  }

  /// Whether the run is over before `until`.
  bool wait_until(clock::time_point until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, until, [this] { return over_; });
  }

  /// Empty when nothing failed.
  std::string reason() {
    const std::lock_guard lock(mutex_);
    return reason_;
  }

 private:
  std::atomic<std::size_t> unconnected_;  // connections
  std::atomic<std::size_t> unfinished_;   // connections
  std::mutex mutex_;                      // guards what follows
  std::condition_variable changed_;
  bool over_ = false;
  std::string reason_;
};

class echo_connection {
 public:
  echo_connection(worker& of, std::size_t index, std::uint64_t bytes);

  void connect();
  void start();

  bool finished() const noexcept { return finished_; }
  std::string progress() const {
    return fmt::format("connection {}: sent {} and got back {} of {} bytes", index_, sent_, received_, bytes_);
  }

 private:
  struct chunk {
    std::uint64_t end;        // offset of the byte after it
    clock::time_point since;  // when its first byte was sent
  };

  void send();
  void receive();
  void on_received(const asio::error_code& error, std::size_t count);
  bool verify(std::span<const std::byte> got);
  void finish();
  void fail(const std::string& reason);

  bool may_start_chunk() const noexcept { return sent_ < bytes_ && chunks_started_ - chunks_done_ < in_flight_.size(); }
  void start_chunk();

  worker& worker_;
  const std::size_t index_;
  const std::uint64_t bytes_;  // its share
  const random_stream stream_;
  client_socket socket_;
  std::vector<std::byte> read_buffer_;
  std::vector<chunk> in_flight_;  // ring: chunk number n is at n % size()
  std::uint64_t chunks_started_ = 0;
  std::uint64_t chunks_done_ = 0;
  std::uint64_t chunk_end_ = 0;  // of the chunk that is being sent
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;    // and verified
  bool waiting_to_send_ = false;  // the socket is full
  bool finished_ = false;         // well or badly
};

// One thread's connections.
class worker {
 public:
  worker(run_state& run, const std::vector<std::unique_ptr<worker>>& all)
      : run_(run), all_(all), write_buffer_(std::min(run.options.chunk_bytes_max, io_bytes_max)) {}

  void add(std::size_t index, std::uint64_t bytes) {
    connections_.push_back(std::make_unique<echo_connection>(*this, index, bytes));
  }

  /// The thread's main function.
  void operator()() {
    try {
      for (std::size_t count = 0; count < connecting_max; ++count) connect_next();
      io_.run();
    } catch (const std::exception& fault) {
      run_.failed(fault.what());
    }
  }

  void stop() { io_.stop(); }

  void connect_next() {
    if (next_ < connections_.size()) connections_[next_++]->connect();
  }

  /// One of its connections is connected. Traffic starts when all are, so that none is measured while
  /// others still connect.
  void connected() {
    connect_next();
    if (!run_.connected()) return;
    for (const std::unique_ptr<worker>& each : all_) {
      asio::post(each->io_, [peer = each.get()] {
        peer->started_ = clock::now();
        for (const auto& connection : peer->connections_) connection->start();
      });
    }
  }

  void verified(std::size_t bytes) noexcept {
    // Relaxed: a count with one writer, read for the progress line.
    verified_bytes_.store(verified_bytes() + bytes, std::memory_order_relaxed);
  }
  std::uint64_t verified_bytes() const noexcept { return verified_bytes_.load(std::memory_order_relaxed); }

  /// Scratch for what is to be sent next: made again when the socket takes only a part, never kept.
  std::span<std::byte> write_buffer() noexcept { return write_buffer_; }

  run_state& run() noexcept { return run_; }
  const echo_options& options() const noexcept { return run_.options; }
  asio::io_context& io() noexcept { return io_; }
  latency_histogram& latency() noexcept { return latency_; }
  const std::vector<std::unique_ptr<echo_connection>>& connections() const noexcept { return connections_; }
  clock::time_point started() const noexcept { return started_; }

 private:
  run_state& run_;
  const std::vector<std::unique_ptr<worker>>& all_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> until_stopped_{io_.get_executor()};
  std::vector<std::byte> write_buffer_;
  std::vector<std::unique_ptr<echo_connection>> connections_;
  std::size_t next_ = 0;  // to connect
  clock::time_point started_;
  latency_histogram latency_;
  std::atomic<std::uint64_t> verified_bytes_{0};
};

// One byte more than can be in flight, within reason: a read that does not fill its buffer tells Asio that
// there is no more, and saves the attempt to read again.
std::size_t read_buffer_bytes(const echo_options& options, std::uint64_t share) {
  const std::uint64_t in_flight = std::min<std::uint64_t>(options.chunk_bytes_max * options.pipeline, share);
  return std::min<std::uint64_t>(in_flight + 1, io_bytes_max);
}

echo_connection::echo_connection(worker& of, std::size_t index, std::uint64_t bytes)
    : worker_(of),
      index_(index),
      bytes_(bytes),
      stream_(of.options().seed, index),
      socket_(of.io().get_executor()),
      in_flight_(std::min<std::uint64_t>(of.options().pipeline, bytes / of.options().chunk_bytes_min + 1)) {}

void echo_connection::connect() {
  open_client(socket_, worker_.options().target, index_);
  socket_.async_connect(worker_.options().target, [this](const asio::error_code& error) {
    if (error) {
      return worker_.run().failed(fmt::format("connection {}: cannot connect to {}: {}", index_,
                                              examples::format_endpoint(worker_.options().target), error.message()));
    }
    socket_.non_blocking(true);
    worker_.connected();
  });
}

void echo_connection::start() {
  read_buffer_.resize(read_buffer_bytes(worker_.options(), bytes_));
  send();
  if (!finished_) receive();
}

void echo_connection::start_chunk() {
  const echo_options& options = worker_.options();
  const std::uint64_t sizes = options.chunk_bytes_max - options.chunk_bytes_min + 1;
  // The sizes are a function of the chunk's number, as the bytes are of their offset.
  const std::uint64_t chosen = options.chunk_bytes_min + mix(mix(options.seed ^ index_) + chunks_started_) % sizes;
  chunk_end_ = sent_ + std::min(chosen, bytes_ - sent_);
  in_flight_[chunks_started_ % in_flight_.size()] = {chunk_end_, clock::now()};
  ++chunks_started_;
}

void echo_connection::send() {
  while (sent_ < chunk_end_ || may_start_chunk()) {
    if (sent_ == chunk_end_) start_chunk();
    const std::span<std::byte> all = worker_.write_buffer();
    const std::span<std::byte> next = all.first(std::min<std::uint64_t>(all.size(), chunk_end_ - sent_));
    stream_.fill(sent_, next);
    asio::error_code error;
    sent_ += socket_.write_some(asio::buffer(next.data(), next.size()), error);
    if (error == asio::error::would_block) {
      waiting_to_send_ = true;
      return socket_.async_wait(client_socket::wait_write, [this](const asio::error_code& failure) {
        waiting_to_send_ = false;
        if (finished_) return;
        if (failure) return fail(failure.message());
        send();
      });
    }
    if (error) return fail(error.message());
  }
  if (sent_ == bytes_ && worker_.options().half_close) {
    asio::error_code ignored;  // called once more after the last byte came back: already shut down
    socket_.shutdown(client_socket::shutdown_send, ignored);
  }
}

void echo_connection::receive() {
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [this](const asio::error_code& error, std::size_t count) { on_received(error, count); });
}

void echo_connection::on_received(const asio::error_code& error, std::size_t count) {
  if (finished_) return;
  if (error == asio::error::eof && received_ == bytes_) return finish();
  if (error == asio::error::eof) return fail("closed by the server");
  if (error) return fail(error.message());
  if (!verify({read_buffer_.data(), count})) return;
  if (received_ == bytes_ && !worker_.options().half_close) return finish();
  if (!waiting_to_send_ && sent_ < bytes_) send();
  if (!finished_) receive();
}

bool echo_connection::verify(std::span<const std::byte> got) {
  if (received_ + got.size() > sent_) {
    fail(fmt::format("{} bytes came back that were never sent", received_ + got.size() - sent_));
    return false;
  }
  const std::size_t same = stream_.first_difference(received_, got);
  if (same != got.size()) {
    const std::uint64_t offset = received_ + same;
    fail(fmt::format("byte {} came back as {:#04x}, expected {:#04x}", offset, std::to_integer<unsigned>(got[same]),
                     std::to_integer<unsigned>(stream_.at(offset))));
    return false;
  }
  received_ += got.size();
  worker_.verified(got.size());

  const clock::time_point now = clock::now();
  while (chunks_done_ < chunks_started_) {
    const chunk& oldest = in_flight_[chunks_done_ % in_flight_.size()];
    if (oldest.end > received_) break;
    worker_.latency().record(now - oldest.since);
    ++chunks_done_;
  }
  return true;
}

void echo_connection::finish() {
  finished_ = true;
  socket_.close();
  worker_.run().finished();
}

void echo_connection::fail(const std::string& reason) {
  finished_ = true;
  worker_.run().failed(
      fmt::format("connection {}: after {} of {} bytes verified: {}", index_, received_, bytes_, reason));
  socket_.close();
}

using workers = std::vector<std::unique_ptr<worker>>;

std::uint64_t verified_bytes(const workers& all) {
  std::uint64_t bytes = 0;
  for (const auto& each : all) bytes += each->verified_bytes();
  return bytes;
}

// Until the run is over; false when the time is.
bool wait_for_end(run_state& run, const workers& all, clock::time_point until) {
  constexpr std::chrono::milliseconds step{500};
  const echo_options& options = run.options;
  bool over = run.wait_until(std::min(clock::now() + step, until));
  while (!over && clock::now() < until) {
    if (options.progress) {
      fmt::print(stderr, "\r{} of {} verified\033[K", examples::format_size(verified_bytes(all)),
                 examples::format_size(options.bytes));
    }
    over = run.wait_until(std::min(clock::now() + step, until));
  }
  if (options.progress) fmt::print(stderr, "\r\033[K");
  return over;
}

std::string describe_timeout(const echo_options& options, const workers& all) {
  std::string timeout = fmt::format("not done after {} s", options.timeout.count());
  for (const auto& each : all) {
    for (const auto& connection : each->connections()) {
      if (!connection->finished()) return fmt::format("{}: {}", timeout, connection->progress());
    }
  }
  return timeout;
}

}  // namespace

echo_result run_echo_load(const echo_options& options) {
  raise_open_files(options.connections);
  run_state run(options);
  workers all;
  for (std::size_t index = 0; index < options.threads; ++index) all.push_back(std::make_unique<worker>(run, all));
  const std::uint64_t shares = options.bytes / options.share_bytes;
  for (std::size_t index = 0; index < options.connections; ++index) {
    const std::uint64_t extra = index < shares % options.connections ? 1 : 0;
    all[index % all.size()]->add(index, (shares / options.connections + extra) * options.share_bytes);
  }

  const clock::time_point until = clock::now() + options.timeout;
  std::vector<std::thread> threads;
  for (const auto& each : all) threads.emplace_back(std::ref(*each));
  const bool over = wait_for_end(run, all, until);
  const clock::time_point ended = clock::now();
  for (const auto& each : all) each->stop();
  for (std::thread& thread : threads) thread.join();

  if (const std::string reason = run.reason(); !reason.empty()) throw std::runtime_error(reason);
  if (!over) throw std::runtime_error(describe_timeout(options, all));
  echo_result result;
  result.bytes = verified_bytes(all);
  clock::time_point started = ended;
  for (const auto& each : all) {
    started = std::min(started, each->started());
    result.latency.add(each->latency());
  }
  result.seconds = std::chrono::duration<double>(ended - started).count();
  return result;
}

}  // namespace slabbuf::bench
