// SPDX-License-Identifier: MIT
// Files as answers: on file systems that cannot say what is in memory, or forget it at once; what is remembered of
// that; disks that do not answer.
#include "http/http_file.hpp"

#include "http/blocking_threads.hpp"
#include "http/http_server.hpp"
#include "support/http_client.hpp"
#include "support/temporary_files.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

namespace slabbuf::examples {
namespace {

using read_status = http_file::read_status;

unique_descriptor opened(const std::string& path) { return unique_descriptor(::open(path.c_str(), O_RDONLY)); }

// A file whose reads without waiting all fail with one error.
class unready_file final : public http_file {
 public:
  unready_file(unique_descriptor descriptor, int error) : http_file(std::move(descriptor)), error_(error) {}

  int probes() const { return probes_.load(); }

 private:
  std::ptrdiff_t read_without_waiting(std::span<std::byte>, std::uint64_t) const noexcept override {
    ++probes_;
    errno = error_;
    return -1;
  }

  const int error_;
  mutable std::atomic<int> probes_{0};
};

// The program itself: on no file system that is memory.
TEST(HttpFile, RemembersThatItCannotBeProbed) {
  const unready_file file(opened("/proc/self/exe"), EOPNOTSUPP);
  std::array<std::byte, 4> bytes{};
  for (int turn = 0; turn < 3; ++turn) EXPECT_EQ(file.read_now(bytes, 0), read_status::cold);
  EXPECT_FALSE(file.is_warm(0, bytes.size()));
  EXPECT_EQ(file.probes(), 1);
  EXPECT_EQ(file.read(bytes, 0), read_status::all);
  EXPECT_EQ(bytes[1], std::byte{'E'});
}

// In memory until it is said to be no more, by a clock that is set.
class clocked_file final : public http_file {
 public:
  clocked_file(unique_descriptor descriptor, std::uint64_t size) : http_file(std::move(descriptor), size) {}

  // Whether these bytes seem to be in memory, and how often that was asked for.
  std::pair<bool, int> ask(std::uint64_t offset, std::uint64_t count) const {
    probes_ = 0;
    const bool warm = is_warm(offset, count);
    return {warm, probes_};
  }

  std::uint32_t now = 0;
  std::uint64_t in_memory_until = UINT64_MAX;

 private:
  std::ptrdiff_t read_without_waiting(std::span<std::byte> into, std::uint64_t offset) const noexcept override {
    ++probes_;
    if (offset < in_memory_until) return static_cast<std::ptrdiff_t>(into.size());
    errno = EAGAIN;
    return -1;
  }
  std::uint32_t now_ms() const noexcept override { return now; }

  mutable int probes_ = 0;
};

constexpr std::uint64_t part = http_file::part_bytes;

TEST(HttpFile, IsNotProbedAgainSoSoon) {
  for (const std::uint32_t start : {0U, 1000U, UINT32_MAX - 100}) {
    SCOPED_TRACE(start);
    clocked_file file(opened("/proc/self/exe"), 3 * part + 5000);
    file.now = start;
    EXPECT_EQ(file.ask(part, part), std::pair(true, 5));
    file.in_memory_until = 0;  // and nobody looks, for a quarter of a second
    EXPECT_EQ(file.ask(part, part), std::pair(true, 0));
    EXPECT_EQ(file.ask(part + 7, 100), std::pair(true, 0)) << "a piece of it";
    file.now += 200;
    EXPECT_EQ(file.ask(part, part), std::pair(true, 0));
    file.now += 100;
    EXPECT_EQ(file.ask(part, part), std::pair(false, 1));
    EXPECT_EQ(file.ask(part, part), std::pair(false, 1)) << "what is not there is asked for each time";
  }
}

TEST(HttpFile, IsProbedForWhereItsWarmPartEnds) {
  clocked_file file(opened("/proc/self/exe"), 3 * part);
  for (const std::uint64_t count : {part, part - 1, part / 2 + 1, part / 8, part / 16}) {
    const std::uint64_t read_ahead = 131'072;
    for (std::uint64_t until = 0; until + read_ahead < count; until += read_ahead / 2) {
      SCOPED_TRACE(::testing::Message() << until << " of " << count);
      file.in_memory_until = part + until;
      EXPECT_FALSE(file.ask(part, count).first);
    }
    file.in_memory_until = part + count;
    EXPECT_TRUE(file.ask(part, count).first);
    file.now += 1000;
  }
}

TEST(HttpFile, RemembersWholePartsAndNoOthers) {
  clocked_file file(opened("/proc/self/exe"), 3 * part + 5000);
  file.now = 1000;
  EXPECT_EQ(file.ask(0, part - 1), std::pair(true, 5));
  EXPECT_EQ(file.ask(0, part), std::pair(true, 5)) << "the last byte was not asked for";
  EXPECT_EQ(file.ask(part + 1, part - 1), std::pair(true, 5));
  EXPECT_EQ(file.ask(part, part), std::pair(true, 5)) << "nor the first";
  EXPECT_EQ(file.ask(part, part + 1), std::pair(true, 5)) << "of two parts";
  EXPECT_EQ(file.ask(3 * part, 5000), std::pair(true, 1));
  EXPECT_EQ(file.ask(3 * part, 5000), std::pair(true, 0)) << "the last part is as long as the file has it";
  const clocked_file of_any_size(opened("/proc/self/exe"), 0);
  EXPECT_EQ(of_any_size.ask(0, part), std::pair(true, 5));
  EXPECT_EQ(of_any_size.ask(0, part), std::pair(true, 5));
}

class one_file final : public http_handler {
 public:
  one_file(std::shared_ptr<const http_file> file, std::uint64_t size) : file_(std::move(file)), size_(size) {}

  void handle(http_exchange_ptr exchange) override {
    exchange->response().body = http_body(file_, 0, size_);
    http_exchange::respond(std::move(exchange));
  }

 private:
  const std::shared_ptr<const http_file> file_;
  const std::uint64_t size_;
};

// The one file for this target, the other for all others.
class chosen_file final : public http_handler {
 public:
  chosen_file(std::shared_ptr<const http_file> cold, std::shared_ptr<const http_file> warm, std::uint64_t size)
      : cold_(std::move(cold)), warm_(std::move(warm)), size_(size) {}

  void handle(http_exchange_ptr exchange) override {
    exchange->response().body = http_body(exchange->request().target() == "/cold" ? cold_ : warm_, 0, size_);
    http_exchange::respond(std::move(exchange));
  }

 private:
  const std::shared_ptr<const http_file> cold_;
  const std::shared_ptr<const http_file> warm_;
  const std::uint64_t size_;
};

// Small ones by way of a block, large ones by the system.
TEST(HttpFile, IsSentWhateverTheSystemSaysOfIt) {
  const support::temporary_files files;
  for (const int error : {EOPNOTSUPP, EAGAIN}) {
    for (const std::size_t size : {10U, 65'535U, 65'536U, 3'000'000U}) {
      SCOPED_TRACE(::testing::Message() << size << " bytes, errno " << error);
      const std::string content(size, 'x');
      const auto file = std::make_shared<const unready_file>(opened(files.write("file", content)), error);
      concurrent_pool pool;
      blocking_threads threads;
      http_options options;
      options.plain.emplace(asio::ip::address_v4::loopback(), std::uint16_t{0});
      http_server server(options, pool, threads,
                         [&](asio::io_context&) { return std::make_unique<one_file>(file, size); });
      server.start();
      std::thread serving([&] { server.run(); });
      {
        support::http_client client(*server.plain_endpoint());
        EXPECT_TRUE(client.ask("GET /").body == content);
        // At most once for each part that is sent.
        EXPECT_LE(file->probes(), 1 + static_cast<int>(size / 65'536));
      }
      server.drain();
      serving.join();
    }
  }
}

// One thread serves, one waits for disks; that one is kept busy, as by a disk that does not answer.
TEST(HttpFile, ThatIsNotInMemoryKeepsNobodyElseWaiting) {
  const support::temporary_files files;
  const std::string content(3'000'000, 'x');
  const auto cold = std::make_shared<const unready_file>(opened(files.write("cold", content)), EAGAIN);
  const auto warm = std::make_shared<const http_file>(opened(files.write("warm", content)));
  concurrent_pool pool;
  blocking_threads threads(1);
  http_options options;
  options.plain.emplace(asio::ip::address_v4::loopback(), std::uint16_t{0});
  http_server server(options, pool, threads,
                     [&](asio::io_context&) { return std::make_unique<chosen_file>(cold, warm, content.size()); });
  server.start();
  std::thread serving([&] { server.run(); });
  std::promise<void> answer_of_the_disk;
  asio::io_context home;
  threads.run(
      home, [&] { return answer_of_the_disk.get_future().get(), true; }, [](const std::exception_ptr&, bool) {});
  {
    support::http_client first(*server.plain_endpoint());
    first.send("GET /cold HTTP/1.1\r\nHost: localhost\r\n\r\n");
    support::http_client second(*server.plain_endpoint());
    // Twice, so that the first one's request has been met in between.
    for (int turn = 0; turn < 2; ++turn) EXPECT_TRUE(second.ask("GET /warm").body == content);
    EXPECT_GE(cold->probes(), 1) << "it has been found not to be there";
    answer_of_the_disk.set_value();
    EXPECT_TRUE(first.receive().body == content);
  }
  home.run();
  server.drain();
  serving.join();
}

// In memory whenever it is asked for, which it remembers nothing of; notes where it was asked for.
class watched_file final : public http_file {
 public:
  watched_file(unique_descriptor descriptor, std::uint64_t size) : http_file(std::move(descriptor), size) {}

  // Probes at other places than those where a part is looked for that begins where parts do.
  int probes_between() const { return probes_between_.load(); }

 private:
  std::ptrdiff_t read_without_waiting(std::span<std::byte> into, std::uint64_t offset) const noexcept override {
    constexpr std::uint64_t every = std::uint64_t{512} << 10;
    if (into.size() == 1 && offset % every != 0 && (offset + 1) % every != 0) ++probes_between_;
    // What is read is sent: a short rest, where a step of sendfile(2) ended shortly before the end.
    return ::pread(descriptor(), into.data(), into.size(), static_cast<::off_t>(offset));
  }
  std::uint32_t now_ms() const noexcept override { return now_.fetch_add(1000); }

  mutable std::atomic<int> probes_between_{0};
  mutable std::atomic<std::uint32_t> now_{1000};
};

// Minutes may pass while a slow peer takes its part.
TEST(HttpFile, IsLookedForAgainWhenThePeerHasMadeRoom) {
  const support::temporary_files files;
  const std::string content(64 << 20, 'x');  // more than any socket takes
  const auto file = std::make_shared<const watched_file>(opened(files.write("file", content)), content.size());
  concurrent_pool pool;
  blocking_threads threads;
  http_options options;
  options.plain.emplace(asio::ip::address_v4::loopback(), std::uint16_t{0});
  http_server server(options, pool, threads,
                     [&](asio::io_context&) { return std::make_unique<one_file>(file, content.size()); });
  server.start();
  std::thread serving([&] { server.run(); });
  {
    support::http_client client(*server.plain_endpoint());
    EXPECT_TRUE(client.ask("GET /").body == content);
  }
  server.drain();
  serving.join();
  EXPECT_GT(file->probes_between(), 0);
}

}  // namespace
}  // namespace slabbuf::examples
