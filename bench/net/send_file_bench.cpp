// SPDX-License-Identifier: MIT
// One question: from which size on does a part of a file cost less by sendfile(2) behind its head than read into the
// block that the head is in?
//
// | counter | what the server's thread does for each answer: a head of 300 B and so much of a file in memory        |
// |---------|---------------------------------------------------------------------------------------------------------|
// | copied  | takes a block, reads into it, one send                                                                  |
// | sent    | send of the head with MSG_MORE, sendfile                                                                |
// | apart   | the same without MSG_MORE, as file_server does: the head is a packet of its own                         |
//
// *_us is processor time per answer, `ratio` sent_us to copied_us. The client takes what has come on the same thread,
// by dropping it, outside of the clock; the three take turns of one answer, so that a slow moment of the machine hits
// all.
#include "net/loopback.hpp"
#include "net/server_cpu.hpp"

#include <slabbuf/net/detail/native_file.hpp>
#include <slabbuf/net/send_file.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

namespace slabbuf::bench {
namespace {

constexpr std::size_t head_bytes = 300;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::system_category(), what); }

// A file that is nowhere but in memory, as one is that has been asked for before.
class file_in_memory {
 public:
  explicit file_in_memory(std::size_t bytes) : descriptor_(::memfd_create("slabbuf", MFD_CLOEXEC)) {
    const std::vector<char> content(bytes, 'x');
    if (descriptor_ < 0 || ::write(descriptor_, content.data(), bytes) != static_cast<::ssize_t>(bytes)) fail("memfd");
  }
  file_in_memory(const file_in_memory&) = delete;
  file_in_memory& operator=(const file_in_memory&) = delete;
  ~file_in_memory() { ::close(descriptor_); }

  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

class answers {
 public:
  answers(const file_in_memory& file, std::size_t bytes)
      : file_(file.descriptor()), bytes_(bytes), pair_(std::move(connect(context_, 1).front())) {
    pair_.server.native_non_blocking(true);
  }

  double copied() {
    begin();
    buffer block = pool_.acquire(head_bytes + bytes_);
    std::byte* const bytes = block.writable(head_bytes + bytes_).data();
    std::fill_n(bytes, head_bytes, std::byte{'h'});
    if (::pread(file_, bytes + head_bytes, bytes_, 0) != static_cast<::ssize_t>(bytes_)) fail("pread");
    for (std::size_t at = 0; at < head_bytes + bytes_;) at += send(bytes + at, head_bytes + bytes_ - at, 0);
    block.release();
    return end();
  }

  double sent(int head_flags) {
    begin();
    for (std::size_t at = 0; at < head_bytes;) at += send(head_.data() + at, head_bytes - at, head_flags);
    for (std::size_t at = 0; at < bytes_;) {
      asio::error_code ec;
      at += net::detail::send_file_now(socket(), file_, at, bytes_ - at, ec);
      if (!ec) continue;
      if (ec != asio::error::would_block) throw std::system_error(ec.value(), std::system_category(), "sendfile");
      make_room();
    }
    return end();
  }

 private:
  int socket() { return pair_.server.native_handle(); }

  std::size_t send(const std::byte* from, std::size_t count, int flags) {
    const ::ssize_t taken = ::send(socket(), from, count, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
    if (taken >= 0) return static_cast<std::size_t>(taken);
    if (errno != EAGAIN) fail("send");
    make_room();
    return 0;
  }

  // The clock runs between begin() and end(), but for make_room().
  void begin() {
    spent_us_ = 0;
    since_us_ = cpu_us();
  }
  void make_room() {
    spent_us_ += cpu_us() - since_us_;
    drop();
    since_us_ = cpu_us();
  }
  double end() {
    spent_us_ += cpu_us() - since_us_;
    while (dropped_ < head_bytes + bytes_) drop();
    dropped_ = 0;
    return spent_us_;
  }

  // The client: waits for bytes, of which there are some.
  void drop() {
    const ::ssize_t got = ::recv(pair_.client.native_handle(), nullptr, std::size_t{1} << 20, MSG_TRUNC);
    if (got <= 0) fail("recv");
    dropped_ += static_cast<std::size_t>(got);
  }

  const int file_;
  const std::size_t bytes_;
  local_pool pool_;
  asio::io_context context_{1};
  connection pair_;
  const std::array<std::byte, head_bytes> head_{};
  std::size_t dropped_ = 0;
  double since_us_ = 0;
  double spent_us_ = 0;
};

void send_file(benchmark::State& state) {
  // As file_server does.
  net::ignore_sigpipe();
  const auto bytes = static_cast<std::size_t>(state.range(0)) << 10;
  const file_in_memory file(bytes);
  answers server(file, bytes);
  double copied_us = 0;
  double sent_us = 0;
  double apart_us = 0;
  for ([[maybe_unused]] const auto& turn : state) {
    copied_us += server.copied();
    sent_us += server.sent(MSG_MORE);
    apart_us += server.sent(0);
  }
  const auto turns = static_cast<double>(state.iterations());
  state.counters["copied_us"] = copied_us / turns;
  state.counters["sent_us"] = sent_us / turns;
  state.counters["apart_us"] = apart_us / turns;
  state.counters["ratio"] = sent_us / copied_us;
}
BENCHMARK(send_file)->Name("send_file/KiB")->RangeMultiplier(2)->Range(4, 512)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace slabbuf::bench
