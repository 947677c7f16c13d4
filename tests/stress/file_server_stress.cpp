// SPDX-License-Identifier: MIT
// Many clients, little memory, large files: each gets every byte, the pool stays within its budget, the process stays
// small.
#include "support/tls_certificates.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using asio::ip::tcp;
using support::file_server;
using support::FileServer;
using support::varied_bytes;

// Downloads one file and compares it as it comes. Starts to read only when all have asked.
template <class Stream>
class download : public std::enable_shared_from_this<download<Stream>> {
 public:
  template <class... Arguments>
  download(const std::string& expected, std::size_t& complete, Arguments&&... arguments)
      : stream_(std::forward<Arguments>(arguments)...), expected_(expected), complete_(complete) {}

  Stream& stream() { return stream_; }

  void ask() {
    asio::write(stream_, asio::buffer(std::string("GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")));
  }

  void read() {
    stream_.async_read_some(asio::buffer(bytes_),
                            [self = this->shared_from_this()](asio::error_code ec, std::size_t got) {
                              if (!ec && self->take(got)) self->read();
                            });
  }

 private:
  bool take(std::size_t got) {
    const char* from = bytes_.data();
    for (; got != 0 && head_matched_ < 4; --got, ++from) {
      head_matched_ = *from == "\r\n\r\n"[head_matched_] ? head_matched_ + 1 : *from == '\r' ? 1U : 0U;
    }
    if (got > expected_.size() - received_ || std::memcmp(from, expected_.data() + received_, got) != 0) return false;
    received_ += got;
    if (received_ == expected_.size()) ++complete_;
    return true;
  }

  Stream stream_;
  const std::string& expected_;
  std::size_t& complete_;
  std::size_t head_matched_ = 0;
  std::size_t received_ = 0;
  std::array<char, 32 << 10> bytes_;
};

void raise_descriptor_limit() {
  ::rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The most memory that was resident at once, without what files share with the page cache.
std::size_t anonymous_bytes(::pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, 8, "RssAnon:") == 0) return std::stoul(line.substr(8)) << 10;
  }
  return 0;
}

// "at most 15.8 MiB at once", of the server's last line.
double high_water_mib(const std::string& log) {
  const std::size_t at = log.find("at most ");
  if (at == std::string::npos) return 0;
  const double value = std::stod(log.substr(at + 8));
  return log.find(" MiB at once", at) != std::string::npos   ? value
         : log.find(" KiB at once", at) != std::string::npos ? value / 1024
                                                             : 0;
}

class FileServerStress : public FileServer {
 protected:
  FileServerStress() { raise_descriptor_limit(); }
};

TEST_F(FileServerStress, GivesTwoThousandClientsEveryByteWithinItsBudget) {
  const std::string content = varied_bytes(10 << 20);
  files.write("file", content);
  file_server server(files.path(""), {"--budget", "16MiB", "--threads", "2"});
  constexpr std::size_t clients = 2000;
  asio::io_context context;
  std::size_t complete = 0;
  std::vector<std::shared_ptr<download<tcp::socket>>> all;
  for (std::size_t index = 0; index < clients; ++index) {
    all.push_back(std::make_shared<download<tcp::socket>>(content, complete, context));
    all.back()->stream().connect(server.endpoint());
    all.back()->ask();
  }
  for (const auto& each : all) each->read();
  all.clear();
  context.run();
  EXPECT_EQ(complete, clients);
  EXPECT_LT(anonymous_bytes(server.child().id()), std::size_t{64} << 20);
  const double most = high_water_mib(server.stop());
  EXPECT_GT(most, 0);
  EXPECT_LE(most, 16);
}

// A file of holes: it takes no room on the disk.
TEST_F(FileServerStress, SendsEveryByteOfAFileLargerThanFourGibibytes) {
  constexpr std::uint64_t size = (std::uint64_t{4} << 30) + 12'345;
  constexpr std::uint64_t at = (std::uint64_t{4} << 30) - 3;  // over the end of what 32 bits count
  files.write("large", "");
  std::filesystem::resize_file(files.path("large"), size);
  {
    std::fstream file(files.path("large"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file << "needle";
  }
  file_server server(files.path(""), {"--budget", "1MiB"});
  asio::io_context context;
  tcp::socket socket(context);
  socket.connect(server.endpoint());
  asio::write(socket, asio::buffer(std::string("GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")));
  std::string head;
  const std::size_t head_bytes = asio::read_until(socket, asio::dynamic_buffer(head), "\r\n\r\n");
  EXPECT_NE(head.find("Content-Length: 4294979641\r\n"), std::string::npos) << head;
  std::uint64_t received = head.size() - head_bytes;
  EXPECT_EQ(head.find_first_not_of('\0', head_bytes), std::string::npos);
  std::vector<char> piece(std::size_t{1} << 20);
  const std::vector<char> zeros(piece.size());
  std::string other;  // what is not zero
  asio::error_code ec;
  while (!ec) {
    const std::size_t got = socket.read_some(asio::buffer(piece), ec);
    if (std::memcmp(piece.data(), zeros.data(), got) != 0) {
      for (std::size_t index = 0; index < got; ++index) {
        if (piece[index] == '\0') continue;
        if (other.empty()) {
          EXPECT_EQ(received + index, at);
        }
        other += piece[index];
      }
    }
    received += got;
  }
  EXPECT_EQ(ec, asio::error::eof);
  EXPECT_EQ(received, size);
  EXPECT_EQ(other, "needle");
  server.stop();
}

TEST_F(FileServerStress, WaitsForMemoryOverTlsAndLosesNothing) {
  const std::string content = varied_bytes(2 << 20);
  files.write("file", content);
  support::temporary_files keys;
  const std::string certificate = keys.write("certificate.pem", support::server_certificate().chain_pem);
  const std::string key = keys.write("key.pem", support::server_certificate().key_pem);
  // Eight blocks for two hundred answers that nobody reads yet.
  file_server server(files.path(""), {"--budget", "1MiB", "--threads", "2", "--https", "127.0.0.1:0", "--cert",
                                      certificate, "--key", key});
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), support::read_port(server.child(), "https"));
  constexpr std::size_t clients = 200;
  asio::io_context context;
  asio::ssl::context tls(asio::ssl::context::tls_client);
  using stream = asio::ssl::stream<tcp::socket>;
  std::size_t complete = 0;
  std::vector<std::shared_ptr<download<stream>>> all;
  for (std::size_t index = 0; index < clients; ++index) {
    all.push_back(std::make_shared<download<stream>>(content, complete, context, tls));
    all.back()->stream().next_layer().connect(endpoint);
    all.back()->stream().handshake(stream::client);
    all.back()->ask();
  }
  for (const auto& each : all) each->read();
  all.clear();
  context.run();
  EXPECT_EQ(complete, clients);
  EXPECT_LE(high_water_mib(server.stop()), 1.0);
}

// Connections that have asked once and are kept: what each of them costs the server.
template <class Connect>
double bytes_per_idle_connection(file_server& server, Connect connect) {
  const auto ask = [](auto& stream) {
    asio::write(stream, asio::buffer(std::string("GET /file HTTP/1.1\r\nHost: test\r\n\r\n")));
    std::string answer;
    asio::read_until(stream, asio::dynamic_buffer(answer), "\r\n\r\ntext");
  };
  constexpr std::size_t count = 4000;
  std::vector<decltype(connect())> all;
  all.reserve(count + 1);
  all.push_back(connect());
  ask(*all.back());
  const std::size_t before = anonymous_bytes(server.child().id());
  for (std::size_t index = 0; index < count; ++index) {
    all.push_back(connect());
    ask(*all.back());
  }
  return static_cast<double>(anonymous_bytes(server.child().id()) - before) / count;
}

TEST_F(FileServerStress, TakesLittleMemoryPerIdleConnection) {
  files.write("file", "text");
  support::temporary_files keys;
  const std::string certificate = keys.write("certificate.pem", support::server_certificate().chain_pem);
  const std::string key = keys.write("key.pem", support::server_certificate().key_pem);
  file_server server(files.path(""), {"--threads", "1", "--https", "127.0.0.1:0", "--cert", certificate, "--key", key});
  const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), support::read_port(server.child(), "https"));
  asio::io_context context;
  asio::ssl::context tls(asio::ssl::context::tls_client);
  const double plain = bytes_per_idle_connection(server, [&] {
    auto socket = std::make_unique<tcp::socket>(context);
    socket->connect(server.endpoint());
    return socket;
  });
  const double encrypted = bytes_per_idle_connection(server, [&] {
    auto stream = std::make_unique<asio::ssl::stream<tcp::socket>>(context, tls);
    stream->next_layer().connect(endpoint);
    stream->handshake(asio::ssl::stream_base::client);
    return stream;
  });
  std::printf("bytes per idle connection: %.0f, TLS %.0f\n", plain, encrypted);
  // nginx takes 528 and 15,229.
  EXPECT_LE(plain, 528);
  EXPECT_LE(encrypted, 14'010);
  server.stop();
}

TEST_F(FileServerStress, TakesManyUploadsWithinItsBudget) {
  file_server server(files.path(""), {"--budget", "1MiB", "--threads", "2", "--writable"});
  constexpr std::size_t clients = 100;
  const std::string content = varied_bytes(1 << 20);
  asio::io_context context;
  std::size_t complete = 0;
  struct upload {
    tcp::socket socket;
    std::string head;
    std::array<char, 512> answer{};
  };
  std::vector<std::unique_ptr<upload>> all;
  for (std::size_t index = 0; index < clients; ++index) {
    all.push_back(std::make_unique<upload>(
        upload{tcp::socket(context), "PUT /" + std::to_string(index) +
                                         " HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: " +
                                         std::to_string(content.size()) + "\r\n\r\n"}));
    upload& one = *all.back();
    one.socket.connect(server.endpoint());
    const std::array<asio::const_buffer, 2> parts{asio::buffer(one.head), asio::buffer(content)};
    asio::async_write(one.socket, parts, [&](asio::error_code failed, std::size_t) {
      if (failed) return;
      one.socket.async_read_some(asio::buffer(one.answer), [&](asio::error_code ec, std::size_t got) {
        if (!ec && std::string_view(one.answer.data(), got).find(" 201 ") != std::string_view::npos) ++complete;
      });
    });
  }
  context.run();
  EXPECT_EQ(complete, clients);
  for (std::size_t index = 0; index < clients; ++index) EXPECT_TRUE(files.read(std::to_string(index)) == content);
  EXPECT_LE(high_water_mib(server.stop()), 1.0);
}

}  // namespace
}  // namespace slabbuf
