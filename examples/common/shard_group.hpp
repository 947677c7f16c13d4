// SPDX-License-Identifier: MIT
// A server's shards, one a thread, all on the same addresses; the first one is the calling thread's.
// Threads: drain() and each() from any; the rest from one.
// Lifetime: the shards are its own. run() returns when each of them has ended.
//
// A shard has start(), run(), stop() and drain(): see echo_shard.
#pragma once

#include "common/command_line.hpp"
#include "common/tcp_listener.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf::examples {

template <class Shard>
class shard_group {
 public:
  shard_group() = default;
  shard_group(const shard_group&) = delete;
  shard_group& operator=(const shard_group&) = delete;
  ~shard_group() { stop(); }

  void add(std::unique_ptr<Shard> shard) { shards_.push_back(std::move(shard)); }

  /// Has listen(shard, endpoint) called for all, on the port that the first one gets, when there is an endpoint, which
  /// is then the one they listen on. Throws std::system_error, whose text names the option that asked for the address,
  /// and the address.
  template <class Endpoint, class Listen>
  void listen(const char* option, std::optional<Endpoint>& endpoint, Listen listen) {
    if (!endpoint) return;
    const Endpoint asked = *endpoint;
    try {
      check_free(asked);
      for (const std::unique_ptr<Shard>& shard : shards_) endpoint = listen(*shard, *endpoint);
    } catch (const std::system_error& fault) {
      throw std::system_error(fault.code(), std::string("cannot listen on ") + option + ' ' + format_endpoint(asked));
    }
  }

  /// Starts the threads, all but one. Throws std::system_error when the system has none left.
  void start() {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->start();
    threads_.reserve(shards_.size());
    for (std::size_t index = 1; index < shards_.size(); ++index) {
      // None serves before all are there: where the last one cannot be had, the others end unused.
      try {
        threads_.emplace_back([this, shard = shards_[index].get()] {
          all_started_.wait(false);
          shard->run();
        });
      } catch (const std::system_error& fault) {
        throw std::system_error(
            fault.code(), "cannot start thread " + std::to_string(index + 1) + " of " + std::to_string(shards_.size()));
      }
    }
    let_threads_go();
  }

  /// Serves on the calling thread, too, until drained. start() comes first.
  void run() {
    shards_.front()->run();
    join();
  }

  void drain() {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->drain();
  }

  /// No shard runs when it returns; they are there still.
  void stop() noexcept {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->stop();
    let_threads_go();
    join();
  }

  template <class Visit>
  void each(Visit visit) const {
    for (const std::unique_ptr<Shard>& shard : shards_) visit(std::as_const(*shard));
  }

 private:
  void let_threads_go() noexcept {
    all_started_.store(true);
    all_started_.notify_all();
  }
  void join() {
    for (std::thread& each : threads_) each.join();
    threads_.clear();
  }

  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<bool> all_started_{false};
  std::vector<std::thread> threads_;  // one for each shard but the first
};

}  // namespace slabbuf::examples
