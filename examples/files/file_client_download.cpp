// SPDX-License-Identifier: MIT
#include "files/file_client_download.hpp"

#include "common/command_line.hpp"

#include <slabbuf/pool/buffer.hpp>

#include <fmt/format.h>
#include <asio/post.hpp>

#include <algorithm>
#include <charconv>
#include <new>
#include <stdexcept>
#include <utility>

namespace slabbuf::examples {
namespace {

// A file that changes all the time is never had.
constexpr std::size_t starts_over_max = 3;

// The note is saved after so many ticks of the display.
constexpr std::size_t ticks_per_note = 5;

constexpr std::uint64_t unknown_end = UINT64_MAX;

// "bytes FIRST-LAST/TOTAL".
struct content_range {
  byte_range range;
  std::uint64_t total;
};
std::optional<content_range> parse_content_range(std::string_view field) {
  const std::string_view unit = "bytes ";
  if (field.substr(0, unit.size()) != unit) return std::nullopt;
  const char* at = field.data() + unit.size();
  const char* const end = field.data() + field.size();
  std::array<std::uint64_t, 3> numbers{};
  const std::string_view separators = "-/";
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    const auto [rest, error] = std::from_chars(at, end, numbers[index]);
    if (error != std::errc()) return std::nullopt;
    at = rest;
    if (index == separators.size()) break;
    if (at == end || *at++ != separators[index]) return std::nullopt;
  }
  const auto [first, last, total] = numbers;
  if (at != end || last < first || last >= total) return std::nullopt;
  return content_range{{first, last + 1}, total};
}

// Weak ones say that the meaning is the same, not the bytes.
std::string strong_etag(const response_head& head) {
  const std::string_view etag = head.find("etag");
  return etag.substr(0, 1) == "\"" ? std::string(etag) : std::string();
}

// A field may come in several lines (RFC 9110, 5.3).
std::string all_lines(const response_head& head, std::string_view name) {
  std::string all;
  for (const auto& [key, value] : head.fields) {
    if (key == name) all += (all.empty() ? "" : ", ") + value;
  }
  return all;
}

}  // namespace

// One connection's share.
class download::fetch final : public client_exchange {
 public:
  fetch(download& owner, byte_range share)
      : range(share),
        retries(owner.setup_.options.retries),
        owner_(owner),
        connection_(std::make_shared<client_connection>(owner.setup_)),
        timer_(owner.setup_.context) {}
  ~fetch() { stop(); }

  void begin() {
    head_.reset();
    verdict_ = verdict::ignore;
    requested = range;
    connection_->exchange(owner_.request_for(*this), *this);
  }

  void begin_after(std::chrono::milliseconds pause) {
    timer_.expires_after(pause);
    timer_.async_wait([this](const asio::error_code& ec) {
      if (!ec && !stopped_) begin();
    });
  }

  void stop() noexcept {
    stopped_ = true;
    connection_->close();
    timer_.cancel();
  }

  // What came to an end as it should.
  const response_head& head() const noexcept { return *head_; }
  bool accepted() const noexcept { return verdict_ == verdict::accept; }

  byte_range range;      // missing yet; the end may be unknown
  byte_range requested;  // when the request was sent
  bool probes = false;   // asks for the head alone
  retry_policy retries;

 private:
  void on_interim(int) noexcept override {}
  void on_head(const response_head& head) noexcept override {
    try {
      head_ = head;
      verdict_ = owner_.judge(head, *this);
    } catch (const std::exception&) {
      owner_.end_with_current_exception();
    }
  }
  void on_body(std::span<const std::byte> bytes) noexcept override {
    if (!accepted()) return;
    if (bytes.size() > range.size()) return owner_.refuse("more bytes came than were asked for");
    if (const std::error_code error = owner_.file_.write(bytes, range.first)) {
      return owner_.end({exit_failure, "cannot write: " + error.message()});
    }
    range.first += bytes.size();
    retries.progressed();
  }
  buffer next_body_bytes(std::size_t) noexcept override { return {}; }
  void on_end(const exchange_end& how) override {
    try {
      how.why == exchange_end::reason::complete ? owner_.on_fetched(*this) : owner_.on_failed(*this, how);
    } catch (const std::exception&) {
      owner_.end_with_current_exception();
    }
  }

  download& owner_;
  std::shared_ptr<client_connection> connection_;
  steady_timer timer_;
  bool stopped_ = false;
  std::optional<response_head> head_;
  verdict verdict_ = verdict::ignore;
};

download::download(client_setup& setup, http_url url, const std::filesystem::path& target, progress_display& display,
                   end_handler on_end)
    : transfer(setup, std::move(url), display, std::move(on_end)), file_(target), target_(target) {}

download::~download() = default;

void download::start() {
  start_ticking();
  std::vector<byte_range> missing{{0, unknown_end}};
  if (const std::optional<partial_note> note = file_.note(asked_for_)) {
    size_ = note->size;
    etag_ = note->etag;
    missing = divide(note->missing, setup_.options.connections);
    if (missing.size() > setup_.options.connections) {
      const auto first = missing.begin() + static_cast<std::ptrdiff_t>(setup_.options.connections);
      waiting_.assign(first, missing.end());
      missing.erase(first, missing.end());
    }
    noted_bytes_ = resumed_bytes_ = note->size - total_bytes(note->missing);
    display_.say(fmt::format("goes on after {} of {}", format_size(resumed_bytes_), format_size(note->size)));
    // Only its digest is to be known, or that there is none: one byte more says so.
    if (missing.empty()) missing.push_back({note->size == 0 ? 0 : note->size - 1, note->size});
  } else {
    file_.clear();
  }
  for (const byte_range& each : missing) fetches_.push_back(std::make_unique<fetch>(*this, each));
  fetches_.front()->probes = !size_ && setup_.options.connections > 1;
  for (const std::unique_ptr<fetch>& each : fetches_) each->begin();
}

client_request download::request_for(const fetch& by) const {
  client_request request{url_, by.probes ? "HEAD" : "GET", {{"Accept-Encoding", "identity"}}, 0};
  if (!digest_) request.fields.emplace_back("Want-Repr-Digest", "sha-256=10");
  if (can_resume() && !by.probes && by.range != byte_range{0, *size_}) {
    request.fields.emplace_back("Range", fmt::format("bytes={}-{}", by.range.first, by.range.end - 1));
    request.fields.emplace_back("If-Range", etag_);
  }
  return request;
}

// What to do with the body. Ends the download where there is nothing that can be done with it.
download::verdict download::judge(const response_head& head, fetch& by) {
  if (head.status != 200 && head.status != 206) return verdict::ignore;
  const std::string_view encoding = head.find("content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    refuse(fmt::format("the server sent it as {}, which was not asked for", encoding));
    return verdict::ignore;
  }
  if (by.probes) return judge_probe(head, by);
  return head.status == 206 ? accept_part(head, by) : accept_whole(head, by);
}

download::verdict download::judge_probe(const response_head& head, fetch& by) {
  if (head.status != 200 || !learn(head)) return verdict::ignore;
  size_ = head.content_length;
  by.range = {0, size_.value_or(unknown_end)};
  // One that has no ranges, or nothing to tell one file from the next by, sends it in one piece.
  if (head.find("accept-ranges") != "bytes") etag_.clear();
  return verdict::ignore;
}

download::verdict download::accept_part(const response_head& head, fetch& by) {
  const std::optional<content_range> part = parse_content_range(head.find("content-range"));
  if (!part || !can_resume() || part->total != *size_ || part->range.first != by.range.first ||
      part->range.end > by.range.end || strong_etag(head) != etag_) {
    refuse(fmt::format("the part that came ({}) is not the one that was asked for", head.find("content-range")));
    return verdict::ignore;
  }
  return learn(head) ? verdict::accept : verdict::ignore;
}

download::verdict download::accept_whole(const response_head& head, fetch& by) {
  const bool is_all = by.range.first == 0 && fetches_.size() == 1 && waiting_.empty() && done_bytes() == 0;
  if (!is_all) {
    display_.say("the server's file is another one by now, or it sends no parts: from the start");
    start_over(by);
    if (ended()) return verdict::ignore;
  }
  if (!learn(head)) return verdict::ignore;
  size_ = head.content_length;
  by.range = by.requested = {0, size_.value_or(unknown_end)};
  return verdict::accept;
}

// Etag and digest of the file. Whether they fit what was known before; if not, it has ended or starts over.
bool download::learn(const response_head& head) {
  std::optional<sha256> told;
  try {
    told = parse_digest_field(all_lines(head, "repr-digest"));
  } catch (const std::invalid_argument& fault) {
    // What came cannot be verified, though the server meant it to be.
    end({exit_corrupt, fmt::format("the server's Repr-Digest is {}", fault.what())});
    return false;
  }
  const std::string etag = strong_etag(head);
  if (head.status == 200) {
    etag_ = etag;
    digest_ = told;
  } else if (told) {
    if (digest_ && *digest_ != *told) {
      refuse("the server tells two digests for the same ETag");
      return false;
    }
    digest_ = told;
  }
  return true;
}

void download::on_fetched(fetch& by) {
  if (by.accepted()) return on_body_complete(by);
  const response_head& head = by.head();
  const bool redirects =
      head.status == 301 || head.status == 302 || head.status == 303 || head.status == 307 || head.status == 308;
  if (redirects) {
    if (follow(head)) by.begin();
  } else if (by.probes) {
    if (head.status == 200) return divide_and_fetch();
    // Whatever is wrong, GET will say so; or nothing is.
    by.probes = false;
    by.begin();
  } else if (head.status == 416 || head.status == 412) {
    start_over(by);
    if (!ended()) by.begin();
  } else {
    const transfer_end refused{exit_refused, fmt::format("{} says {}", host_field(url_), describe(head))};
    is_worth_a_retry(head.status) ? retry(by, refused) : end(refused);
  }
}

void download::on_body_complete(fetch& by) {
  if (by.range.end == unknown_end) {
    by.range.end = by.range.first;
    size_ = by.range.end;
  }
  if (by.range.size() == 0) {
    if (!waiting_.empty()) {
      by.range = waiting_.back();
      waiting_.pop_back();
      return by.begin();
    }
    if (missing_bytes() == 0) verify();
  } else if (by.range == by.requested) {
    retry(by, {exit_refused, "the server sends empty parts"});
  } else {
    by.begin();  // a part may be smaller than what was asked for
  }
}

void download::refuse(const std::string& why) {
  contradicted_ = true;
  end({exit_refused, why});
}

void download::on_failed(fetch& by, const exchange_end& how) {
  switch (how.why) {
    case exchange_end::reason::untrusted: return end({exit_untrusted, how.message});
    case exchange_end::reason::not_http: return end({exit_refused, how.message});
    default: break;
  }
  // What cannot be gone on with begins again.
  if (!can_resume() && by.range.first != 0) start_over(by);
  if (!ended()) retry(by, {exit_unreachable, how.message});
}

void download::retry(fetch& by, const transfer_end& otherwise) {
  const auto pause = by.retries.next();
  if (!pause) return end(otherwise);
  display_.say(otherwise.message + ", trying again");
  by.begin_after(*pause);
}

// After the probe: as many connections as there is something to do for.
void download::divide_and_fetch() {
  const byte_range all = fetches_.front()->range;
  const std::size_t connections = can_resume() ? setup_.options.connections : 1;
  const std::vector<byte_range> shares = divide({all}, connections);
  fetches_.front()->probes = false;
  if (!shares.empty()) fetches_.front()->range = shares.front();
  for (std::size_t index = 1; index < shares.size(); ++index) {
    fetches_.push_back(std::make_unique<fetch>(*this, shares[index]));
  }
  for (const std::unique_ptr<fetch>& each : fetches_) each->begin();
}

// Nothing is there any more, and one connection is left.
void download::start_over(fetch& kept) {
  if (starts_over_++ == starts_over_max) {
    return end(
        {exit_unreachable, fmt::format("had to start over {} times, the last time because the connection broke, the "
                                       "file changed or there are no parts",
                                       starts_over_max)});
  }
  for (std::unique_ptr<fetch>& each : fetches_) {
    if (each.get() == &kept) continue;
    each->stop();
    retired_.push_back(std::move(each));
  }
  std::erase(fetches_, nullptr);
  waiting_.clear();
  file_.clear();
  size_.reset();
  etag_.clear();
  digest_.reset();
  resumed_bytes_ = noted_bytes_ = 0;
  kept.range = {0, unknown_end};
}

std::uint64_t download::missing_bytes() const noexcept {
  std::uint64_t sum = total_bytes(waiting_);
  for (const std::unique_ptr<fetch>& each : fetches_) sum += each->range.size();
  return sum;
}

std::uint64_t download::done_bytes() const noexcept {
  if (size_) return *size_ - missing_bytes();
  return fetches_.empty() ? 0 : fetches_.front()->range.first;
}

// Of what is on the disk: a part at the wrong place shows, too.
void download::verify() {
  if (ended()) return;
  if (!digest_) return complete();
  buffer block = setup_.pool.acquire(transfer_block_bytes);
  for (std::size_t step = 0; step < hash_step_bytes; step += transfer_block_bytes) {
    const std::size_t count = file_.read(block.prepare(), hashed_bytes_);
    block.commit(count);
    hash_.update(block.prepare().first(count));
    hashed_bytes_ += count;
    if (count == 0) return complete();
  }
  asio::post(setup_.context, [this] {
    try {
      verify();
    } catch (const std::exception&) {
      end_with_current_exception();
    }
  });
}

void download::complete() {
  if (digest_ && hash_.finish() != *digest_) {
    return end({exit_corrupt, "what came does not have the digest that the server told"});
  }
  file_.commit();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - started_at_;
  const auto fetched = static_cast<double>(*size_ - resumed_bytes_);
  end({exit_success, fmt::format("{} in {:.1f} s ({}/s), {}", format_size(*size_), time.count(),
                                 format_size(static_cast<std::size_t>(fetched / std::max(time.count(), 1e-3))),
                                 digest_ ? "sha-256 verified" : "not verified: the server told no digest")});
}

void download::save_note() const {
  partial_note note{asked_for_, etag_, *size_, waiting_};
  for (const std::unique_ptr<fetch>& each : fetches_) note.missing.push_back(each->range);
  std::sort(note.missing.begin(), note.missing.end(),
            [](const byte_range& a, const byte_range& b) { return a.first < b.first; });
  file_.save(note);
}

std::string download::stop(const transfer_end& how) {
  for (const std::unique_ptr<fetch>& each : fetches_) each->stop();
  if (how.exit_status == exit_success) return {};
  const std::uint64_t done = done_bytes();
  if (how.exit_status != exit_corrupt && !contradicted_ && can_resume() && done != 0) {
    try {
      save_note();
      return fmt::format("{} of {} are kept, the same command goes on", format_size(done), format_size(*size_));
    } catch (const std::exception& fault) {
      return fault.what();
    }
  }
  file_.discard();
  return {};
}

void download::on_tick() {
  const std::uint64_t done = done_bytes();
  display_.show(done, size_);
  if (++ticks_ % ticks_per_note != 0 || !can_resume() || done == noted_bytes_ || done == *size_) return;
  save_note();
  noted_bytes_ = done;
}

}  // namespace slabbuf::examples
