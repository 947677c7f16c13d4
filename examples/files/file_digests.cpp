// SPDX-License-Identifier: MIT
#include "files/file_digests.hpp"

#include <asio/post.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <span>

namespace slabbuf::examples {
namespace {

// Of one turn on a blocking thread: others have theirs before the next.
constexpr std::uint64_t bytes_per_turn = std::uint64_t{8} << 20;
constexpr std::size_t bytes_per_read = std::size_t{64} << 10;

}  // namespace

void file_digests::ask(std::shared_ptr<const open_file> file, asio::io_context& home, digest_waiter_ptr waiter) {
  const file_identity identity = file->identity();
  std::unique_lock lock(mutex_);
  if (const auto known = known_.find(identity); known != known_.end()) {
    recent_.splice(recent_.begin(), recent_, known->second);
    const sha256 digest = known->second->digest;
    lock.unlock();
    return waiter->on_digest(digest);
  }
  const auto found = jobs_.find(identity);
  const bool too_much = found == jobs_.end() && file->size() > bytes_max - bytes_asked_;
  if (too_much || stopped_.load(std::memory_order_relaxed)) {
    lock.unlock();
    return waiter->on_digest(std::nullopt);
  }
  waiting one{&home, asio::make_work_guard(home), std::move(waiter)};
  if (found != jobs_.end()) return found->second->waiters.push_back(std::move(one));
  const auto made = std::make_shared<job>();
  made->home = &home;
  made->file = std::move(file);
  made->waiters.push_back(std::move(one));
  const bool starts = running_ < jobs_running_max;
  if (!starts) pending_.push_back(made);
  jobs_.emplace(identity, made);
  bytes_asked_ += identity.size;
  if (!starts) return;
  ++running_;
  lock.unlock();
  run(made);
}

// Each turn is posted anew: between two of them the threads do what others have asked for meanwhile.
void file_digests::run(const job_ptr& one) {
  threads_.run(
      *one->home, [this, one] { return turn(*one); },
      [this, one](const std::exception_ptr&, progress now) {  // a turn throws nothing
        now == progress::more ? run(one) : end(one, now == progress::complete);
      });
}

auto file_digests::turn(job& one) const noexcept -> progress {
  std::array<std::byte, bytes_per_read> bytes;  // NOLINT: what is read into it is what is looked at
  const std::uint64_t end = std::min(one.file->size(), one.done + bytes_per_turn);
  while (one.done < end) {
    if (stopped_.load(std::memory_order_relaxed)) return progress::failed;
    const std::span<std::byte> part =
        std::span(bytes).first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), end - one.done)));
    if (one.file->read(part, one.done) != http_file::read_status::all) return progress::failed;
    one.hash.update(part);
    one.done += part.size();
  }
  return one.done == one.file->size() ? progress::complete : progress::more;
}

void file_digests::end(const job_ptr& one, bool complete) {
  const file_identity& identity = one->file->identity();
  const std::optional<sha256> digest = complete ? std::optional(one->hash.finish()) : std::nullopt;
  std::vector<waiting> told;
  job_ptr next;
  {
    const std::lock_guard lock(mutex_);
    told.swap(one->waiters);
    jobs_.erase(identity);
    bytes_asked_ -= identity.size;
    if (digest) remember(identity, *digest);
    if (pending_.empty()) {
      --running_;
    } else {
      next = std::move(pending_.front());
      pending_.pop_front();
    }
  }
  for (waiting& each : told) {
    asio::io_context& home = *each.home;
    asio::post(home, [each = std::move(each), digest] { each.waiter->on_digest(digest); });
  }
  if (next) run(next);
}

void file_digests::remember(const file_identity& identity, const sha256& digest) {
  recent_.push_front({identity, digest});
  known_.insert_or_assign(identity, recent_.begin());
  if (recent_.size() <= remembered_max) return;
  known_.erase(recent_.back().of);
  recent_.pop_back();
}

}  // namespace slabbuf::examples
