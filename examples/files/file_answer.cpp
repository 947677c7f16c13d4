// SPDX-License-Identifier: MIT
#include "files/file_answer.hpp"

#include "files/byte_ranges.hpp"
#include "files/directory_listing.hpp"
#include "files/directory_page.hpp"
#include "files/preconditions.hpp"
#include "http/blocking_threads.hpp"

#include <slabbuf/pool/pmr_resource.hpp>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstddef>
#include <ctime>
#include <exception>
#include <new>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace slabbuf::examples {
namespace {

void add_content_range(http_response& answer, const byte_range& range, std::uint64_t size) {
  fmt::format_to(fmt::appender(answer.fields), FMT_STRING("Content-Range: bytes {}-{}/{}\r\n"), range.offset,
                 range.offset + range.count - 1, size);
}

// Not to be guessed by whoever wrote the file.
std::string random_boundary() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

void answer_ranges(http_response& answer, const std::shared_ptr<const open_file>& file,
                   const std::vector<byte_range>& ranges, std::string_view media_type) {
  answer.status = 206;
  if (ranges.size() == 1) {
    answer.add("Content-Type", media_type);
    add_content_range(answer, ranges.front(), file->size());
    answer.body = http_body(file, ranges.front().offset, ranges.front().count);
    return;
  }
  const std::string boundary = random_boundary();
  answer.add("Content-Type", "multipart/byteranges; boundary=" + boundary);
  std::vector<http_body::piece> pieces;
  for (const byte_range& each : ranges) {
    pieces.push_back({fmt::format("{}--{}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
                                  pieces.empty() ? "" : "\r\n", boundary, media_type, each.offset,
                                  each.offset + each.count - 1, file->size()),
                      0, 0});
    pieces.push_back({{}, each.offset, each.count});
  }
  pieces.push_back({fmt::format("\r\n--{}--\r\n", boundary), 0, 0});
  answer.body = http_body(file, std::move(pieces));
}

std::string_view tag_of(const open_file& file, const representation& is) noexcept {
  return is.gzipped ? std::string_view(is.tag) : file.tag();
}

// What of it, when there is nothing against it. The digest has been added by then.
void answer_content(http_exchange_ptr exchange, std::shared_ptr<const open_file> file, const representation& is) {
  http_response& answer = exchange->response();
  const http_request& request = exchange->request();
  // More than one line of it means nothing (RFC 9110, 14.2): then all of the file is sent.
  const bool may_ask = request.method() == http_method::get && request.count("range") == 1;
  const auto range = may_ask ? request.field("range") : std::nullopt;
  if (range && range_applies(request, {tag_of(*file, is), file->modified()})) {
    const byte_ranges asked = parse_ranges(*range, file->size());
    if (asked.what == byte_ranges::kind::some) {
      if (is.gzipped) answer.add("Content-Encoding", "gzip");
      answer_ranges(answer, file, asked.ranges, is.media_type);
      return http_exchange::respond(std::move(exchange));
    }
    if (asked.what == byte_ranges::kind::unsatisfiable) {
      // Digest and date are the file's, which is not what is sent.
      answer.fields.clear();
      fmt::format_to(fmt::appender(answer.fields), FMT_STRING("Content-Range: bytes */{}\r\n"), file->size());
      answer.add("Accept-Ranges", "bytes");
      return http_exchange::respond(std::move(exchange), 416, "no byte of these ranges is in the file");
    }
  }
  if (is.gzipped) answer.add("Content-Encoding", "gzip");
  answer.add("Content-Type", is.media_type);
  const std::uint64_t size = file->size();
  answer.body = http_body(std::move(file), 0, size);
  http_exchange::respond(std::move(exchange));
}

// Whether a Want-Repr-Digest field asks for SHA-256: "sha-256=5"; "sha-256=0" asks for none.
bool wants_sha256(std::string_view field) noexcept {
  static constexpr std::string_view algorithm = "sha-256";
  while (!field.empty()) {
    const std::string_view member = next_member(field);
    if (!equal_ignoring_case(trimmed(member.substr(0, member.find('='))), algorithm)) continue;
    const std::size_t weight = member.find_first_not_of("= ", algorithm.size());
    return weight == std::string_view::npos || member[weight] != '0';
  }
  return false;
}

// A text of many pieces in blocks of a pool, each full but the last one. Throws std::bad_alloc as soon as there is no
// room for more.
class pooled_text {
 public:
  explicit pooled_text(concurrent_pool& pool) noexcept : pool_(pool) {}

  void add(std::string_view piece) {
    if (pending_.size() + piece.size() > block_bytes) flush();
    pending_.append(piece);
  }
  buffer_chain take() {
    flush();
    return std::move(blocks_);
  }

 private:
  static constexpr std::size_t block_bytes = std::size_t{16} << 10;

  void flush() {
    blocks_.append_copy(pool_, std::as_bytes(std::span(pending_.data(), pending_.size())));
    pending_.clear();
  }

  concurrent_pool& pool_;
  buffer_chain blocks_;
  fmt::basic_memory_buffer<char, block_bytes> pending_;
};

// Answers when the digest is there, or is not to be had.
class digest_answer final : public digest_waiter {
 public:
  digest_answer(http_exchange_ptr exchange, std::shared_ptr<const open_file> file, const representation& is)
      : exchange_(std::move(exchange)), file_(std::move(file)), is_(is) {}

  void on_digest(std::optional<sha256> digest) override {
    if (digest) exchange_->response().add("Repr-Digest", digest_field(*digest));
    answer_content(std::move(exchange_), std::move(file_), is_);
  }

 private:
  http_exchange_ptr exchange_;
  std::shared_ptr<const open_file> file_;
  const representation is_;
};

}  // namespace

void answer_file(http_exchange_ptr exchange, file_digests& digests, std::shared_ptr<const open_file> file,
                 const representation& is) {
  http_response& answer = exchange->response();
  const http_request& request = exchange->request();
  const std::string_view tag = tag_of(*file, is);
  // Not later than the answer itself (RFC 9110, 8.8.2.1).
  const std::time_t now = std::time(nullptr);
  answer.add("Last-Modified", file->modified() <= now ? file->last_modified() : text_of(format_http_date(now)));
  answer.add("X-Content-Type-Options", "nosniff");
  if (is.sandboxed) answer.add("Content-Security-Policy", "sandbox");
  answer.add("ETag", tag);
  answer.add("Accept-Ranges", "bytes");
  if (is.varies) answer.add("Vary", "Accept-Encoding");
  switch (check_preconditions(request, {tag, file->modified()})) {
    case precondition::holds: break;
    case precondition::not_modified: answer.status = 304; return http_exchange::respond(std::move(exchange));
    case precondition::failed:
      return http_exchange::respond(std::move(exchange), 412, "the file is not the one that is meant");
  }
  std::string room;
  if (wants_sha256(request.list("want-repr-digest", room).value_or(std::string_view()))) {
    asio::io_context& home = exchange->context();
    auto waiter = std::make_unique<digest_answer>(std::move(exchange), file, is);
    return digests.ask(std::move(file), home, std::move(waiter));
  }
  answer_content(std::move(exchange), std::move(file), is);
}

void answer_directory(http_exchange_ptr exchange, const root_directory& root,
                      std::shared_ptr<const open_file> directory, std::string path, bool writable) {
  // Whoever takes anything gets the page.
  std::string room;
  const std::string_view accepted = exchange->request().list("accept", room).value_or(std::string_view());
  const bool json = media_weight(accepted, "application/json") > media_weight(accepted, "text/html");
  http_response& answer = exchange->response();
  answer.add("Vary", "Accept");
  answer.add("Cache-Control", "no-cache");
  if (json) {
    answer.add("Content-Type", "application/json");
  } else {
    answer.add("Content-Type", "text/html; charset=utf-8");
    answer.add("Content-Security-Policy", directory_page_policy());
  }
  answer.add("X-Content-Type-Options", "nosniff");
  struct listed {
    buffer_chain blocks;
    int status = 200;
  };
  blocking_threads& threads = exchange->threads();
  asio::io_context& home = exchange->context();
  concurrent_pool& pool = exchange->buffers();
  threads.run(
      home,
      [&root, &pool, directory = std::move(directory), path = std::move(path), writable, json] {
        listed result;
        try {
          // Of the budget, the names as well as the text.
          pmr_resource memory(pool);
          bool cut = false;
          auto entries = read_directory(root, path, directory->descriptor(), memory, cut);
          const directory_listing listing{"/" + path, writable, std::move(entries), cut};
          pooled_text text(pool);
          const text_sink put = [&](std::string_view piece) { text.add(piece); };
          json ? directory_json(listing, put) : directory_page(listing, put);
          result.blocks = text.take();
        } catch (const std::bad_alloc&) {
          result.status = 503;
        } catch (const std::exception& fault) {
          spdlog::error("a directory cannot be listed: {}", fault.what());
          result.status = 500;
        }
        return result;
      },
      [exchange = std::move(exchange)](const std::exception_ptr& fault, listed result) mutable {
        if (fault) return http_exchange::respond(std::move(exchange), fault);
        if (result.status != 200) {
          exchange->response().fields.clear();
          return http_exchange::respond(
              std::move(exchange), result.status,
              result.status == 503 ? "there is no memory for this directory" : "the directory cannot be read");
        }
        exchange->response().blocks = std::move(result.blocks);
        http_exchange::respond(std::move(exchange));
      });
}

}  // namespace slabbuf::examples
