// SPDX-License-Identifier: MIT
#include "files/file_client_upload.hpp"

#include "common/command_line.hpp"

#include <slabbuf/pool/buffer.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

// A server that says again and again that it has other bytes than those it gets.
constexpr std::size_t misunderstandings_max = 10;

// Up to `bytes_max` bytes at `offset`, fewer only at the end of the file; none where they cannot be read.
buffer read_block(local_pool& pool, int descriptor, std::uint64_t offset, std::size_t bytes_max) noexcept {
  buffer block = pool.try_acquire(bytes_max);
  if (!block) return {};
  const std::span<std::byte> room = block.prepare().first(bytes_max);
  std::size_t got = 0;
  while (got < bytes_max) {
    const ::ssize_t count = ::pread(descriptor, room.data() + got, bytes_max - got, static_cast<::off_t>(offset + got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {};
    if (count == 0) break;
    got += static_cast<std::size_t>(count);
  }
  block.commit(got);
  return block;
}

std::optional<std::uint64_t> parse_offset(std::string_view field) {
  std::uint64_t offset = 0;
  const auto [rest, error] = std::from_chars(field.data(), field.data() + field.size(), offset);
  if (error != std::errc() || rest != field.data() + field.size()) return std::nullopt;
  return offset;
}

}  // namespace

upload::upload(client_setup& setup, const std::filesystem::path& source, http_url url, progress_display& display,
               end_handler on_end)
    : transfer(setup, std::move(url), display, std::move(on_end)),
      connection_(std::make_shared<client_connection>(setup)),
      timer_(setup.context),
      retries_(setup.options.retries) {
  struct ::stat status {};
  // Not blocking: opening a FIFO would wait for somebody to write.
  descriptor_ = ::open(source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    throw std::system_error(errno, std::system_category(), "cannot read " + source.string());
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), source.string() + " is no file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

upload::~upload() {
  connection_->close();
  ::close(descriptor_);
}

void upload::start() {
  display_.say("reading it for its digest");
  hash();
}

void upload::hash() try {
  if (ended()) return;
  const std::uint64_t step_end = std::min<std::uint64_t>(hashed_bytes_ + hash_step_bytes, size_);
  while (hashed_bytes_ < step_end) {
    const buffer block = read_block(setup_.pool, descriptor_, hashed_bytes_, transfer_block_bytes);
    if (block.empty()) return end({exit_failure, "the file cannot be read to its end"});
    hash_.update({block.data(), block.size()});
    hashed_bytes_ += block.size();
  }
  if (hashed_bytes_ < size_) return asio::post(setup_.context, [this] { hash(); });
  digest_ = hash_.finish();
  started_at_ = std::chrono::steady_clock::now();
  start_ticking();
  send();
} catch (const std::exception&) {
  end_with_current_exception();
}

void upload::send() {
  if (ended()) return;
  head_.reset();
  told_bytes_ = 0;
  client_request request{url_, "PUT", {{"Repr-Digest", digest_field(digest_)}}, size_ - offset_, asks_first_};
  if (asks_) {
    request.fields.emplace_back("Content-Range", fmt::format("bytes */{}", size_));
    request.body_bytes = 0;
  } else if (in_parts_ && size_ != 0) {
    request.fields.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", offset_, size_ - 1, size_));
  }
  connection_->exchange(request, *this);
}

buffer upload::next_body_bytes(std::size_t bytes_max) noexcept {
  buffer block = read_block(setup_.pool, descriptor_, offset_, bytes_max);
  offset_ += block.size();
  return block;
}

void upload::on_body(std::span<const std::byte> bytes) noexcept {
  const std::size_t count = std::min(bytes.size(), told_.size() - told_bytes_);
  std::copy_n(reinterpret_cast<const char*>(bytes.data()), count, told_.begin() + told_bytes_);
  told_bytes_ += count;
}

// "HOST says 409 Conflict: there is no such directory": the first line of a refusal in plain text is for people.
std::string upload::what_it_says(const response_head& head) const {
  const std::string status = describe(head);
  std::string why;
  if (head.find("content-type").substr(0, 10) == "text/plain") {
    why.assign(told_.data(), told_bytes_);
    why.erase(std::min(why.find_first_of("\r\n"), why.size()));
    if (why.substr(0, status.size()) == status) why.erase(0, why.find_first_not_of(": ", status.size()));
  }
  return fmt::format("{} says {}{}{}", host_field(url_), status, why.empty() ? "" : ": ", why);
}

void upload::on_end(const exchange_end& how) try {
  using end_reason = exchange_end::reason;
  switch (how.why) {
    case end_reason::complete: return on_answer(*head_);
    case end_reason::untrusted: return end({exit_untrusted, how.message});
    case end_reason::not_http: return end({exit_refused, how.message});
    case end_reason::no_source: return end({exit_failure, "the file was cut short while it was sent"});
    case end_reason::broken: break;
  }
  asks_ = in_parts_ && (offset_ != 0 || asks_);
  if (!in_parts_) offset_ = 0;
  retry({exit_unreachable, how.message});
} catch (const std::exception&) {
  end_with_current_exception();
}

void upload::on_answer(const response_head& head) {
  const transfer_end refused{exit_refused, what_it_says(head)};
  if (!asks_ && (head.status == 200 || head.status == 201 || head.status == 204)) {
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - started_at_;
    const double rate = static_cast<double>(size_) / std::max(time.count(), 1e-3);
    return end({exit_success, fmt::format("{} in {:.1f} s ({}/s), its sha-256 sent along", format_size(size_),
                                          time.count(), format_size(static_cast<std::size_t>(rate)))});
  }
  if (head.status == 202 || head.status == 409) {
    if (!head.find("upload-offset").empty()) return go_on_at(head);
    return end(refused);
  }
  // A server, or a proxy in front of it, that cannot be asked (RFC 9110, 10.1.1). It may have said so after a part of
  // the body had gone.
  if (head.status == 417 && std::exchange(asks_first_, false)) {
    offset_ = in_parts_ ? confirmed_ : 0;
    return send();
  }
  // Others would have the method changed to GET.
  if (head.status == 307 || head.status == 308) {
    offset_ = 0;
    if (follow(head)) send();
    return;
  }
  const bool took_question_for_file = asks_ && head.status / 100 == 2;
  if (took_question_for_file || (in_parts_ && (head.status == 400 || head.status == 501))) return send_without_parts();
  if (!is_worth_a_retry(head.status)) return end(refused);
  asks_ = in_parts_ && offset_ != 0;
  if (!in_parts_) offset_ = 0;
  retry(refused);
}

// The server has told how many bytes it has.
void upload::go_on_at(const response_head& head) {
  const std::optional<std::uint64_t> offset = parse_offset(head.find("upload-offset"));
  if (!offset || *offset >= size_ || misunderstandings_++ == misunderstandings_max) {
    return end({exit_refused, fmt::format("{}, and Upload-Offset: {}, of {} bytes", what_it_says(head),
                                          head.find("upload-offset"), size_)});
  }
  if (*offset > confirmed_) {
    retries_.progressed();
    misunderstandings_ = 0;
  }
  asks_ = false;
  confirmed_ = offset_ = *offset;
  if (offset_ != 0) display_.say(fmt::format("goes on after {} of {}", format_size(offset_), format_size(size_)));
  send();
}

void upload::send_without_parts() {
  in_parts_ = asks_ = false;
  offset_ = 0;
  send();
}

void upload::retry(const transfer_end& otherwise) {
  const auto pause = retries_.next();
  if (!pause) return end(otherwise);
  display_.say(otherwise.message + ", trying again");
  timer_.expires_after(*pause);
  timer_.async_wait([this](const asio::error_code& ec) {
    if (!ec) send();
  });
}

std::string upload::stop(const transfer_end&) {
  connection_->close();
  timer_.cancel();
  return {};
}

void upload::on_tick() {
  if (!asks_) display_.show(offset_, size_);
}

}  // namespace slabbuf::examples
