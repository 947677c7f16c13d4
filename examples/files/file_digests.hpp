// SPDX-License-Identifier: MIT
// The SHA-256 of files, for those who ask: each file is read once, however many ask, and remembered while it does not
// change.
// Threads: any; files are read by blocking threads, a turn at a time.
// Lifetime: must outlive the server, which must be drained before it dies. Whoever waits is told on the io_context it
// named, which has work until then.
//
//     ask() --> known, or refused: told at once
//           --> the file's job, made for the first who asks --> pending --> one of jobs_running_max: turn, turn, ...
//                                                                                             --> told, all of them
//
// What one client can have done here is bounded, whether it stays or leaves: bytes to be read by all jobs together are
// bytes_max at most, and half of the threads are left to those who read and list. Whoever asks for more goes without: a
// server may ignore that a digest is wanted (RFC 9530, 4).
#pragma once

#include "files/open_file.hpp"
#include "http/blocking_threads.hpp"
#include "http/digest.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace slabbuf::examples {

/// Who waits for a digest.
class digest_waiter {
 public:
  virtual ~digest_waiter() = default;

  /// The last call: the digest, or nothing when it is not to be had.
  virtual void on_digest(std::optional<sha256> digest) = 0;
};
using digest_waiter_ptr = std::unique_ptr<digest_waiter>;

class file_digests {
 public:
  /// Files that together have more bytes than these are not read for their digests at the same time; nor is one alone.
  static constexpr std::uint64_t bytes_max = std::uint64_t{2} << 30;
  static constexpr std::size_t jobs_running_max = 2;
  static constexpr std::size_t remembered_max = 4096;

  explicit file_digests(blocking_threads& threads) : threads_(threads) {}
  file_digests(const file_digests&) = delete;
  file_digests& operator=(const file_digests&) = delete;

  /// Tells the waiter of this file's digest: at once, or later on `home`. Throws std::bad_alloc.
  void ask(std::shared_ptr<const open_file> file, asio::io_context& home, digest_waiter_ptr waiter);

  /// From now on nothing is read: whoever waits is told that there is none.
  void stop() noexcept { stopped_.store(true, std::memory_order_relaxed); }

 private:
  struct waiting {
    asio::io_context* home;
    asio::executor_work_guard<asio::io_context::executor_type> work;
    digest_waiter_ptr waiter;
  };
  struct job {
    asio::io_context* home;  // of the first who waits
    std::shared_ptr<const open_file> file;
    sha256_hash hash;
    std::uint64_t done = 0;
    std::vector<waiting> waiters;  // under mutex_
  };
  using job_ptr = std::shared_ptr<job>;
  struct remembered {
    file_identity of;
    sha256 digest;
  };

  void run(const job_ptr& one);
  enum class progress : std::uint8_t { more, complete, failed };
  progress turn(job& one) const noexcept;
  void end(const job_ptr& one, bool complete);
  void remember(const file_identity& identity, const sha256& digest);

  blocking_threads& threads_;
  std::atomic<bool> stopped_{false};  // looked at now and then: orders nothing
  std::mutex mutex_;                  // guards what follows
  std::map<file_identity, job_ptr> jobs_;
  std::deque<job_ptr> pending_;    // of jobs_, those that do not run yet
  std::size_t running_ = 0;        // of jobs_, the others
  std::uint64_t bytes_asked_ = 0;  // sizes of all jobs_
  std::list<remembered> recent_;   // the latest first
  std::map<file_identity, std::list<remembered>::iterator> known_;
};

}  // namespace slabbuf::examples
