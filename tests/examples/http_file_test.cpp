// SPDX-License-Identifier: MIT
// Files as answers: on file systems that cannot say what is in memory, or forget it at once.
#include "http/http_file.hpp"

#include "http/blocking_threads.hpp"
#include "http/http_server.hpp"
#include "support/http_client.hpp"
#include "support/temporary_files.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>

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

}  // namespace
}  // namespace slabbuf::examples
