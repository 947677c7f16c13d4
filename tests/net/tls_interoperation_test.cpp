// SPDX-License-Identifier: MIT
// TLS streams against peers that nobody here wrote: the openssl program on either side, and Python's ssl module.
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/ssl/context.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "support/tls_certificates.hpp"

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;

struct closer {
  void operator()(std::FILE* process) const { ::pclose(process); }
};
using process = std::unique_ptr<std::FILE, closer>;

bool can_run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

// All that a command prints.
std::string output_of(const std::string& command) {
  const process running(::popen(command.c_str(), "r"));
  std::string text;
  std::array<char, 4096> bytes;
  while (const std::size_t count = std::fread(bytes.data(), 1, bytes.size(), running.get()))
    text.append(bytes.data(), count);
  return text;
}

class TlsInteroperation : public ::testing::Test {
 protected:
  TlsInteroperation() {
    const std::string stem = ::testing::TempDir() + "slabbuf_tls_" + std::to_string(::getpid());
    authority_file = stem + "_authority.pem";
    server_file = stem + "_server.pem";
    std::ofstream(authority_file) << support::test_authority().chain_pem;
    std::ofstream(server_file) << support::server_certificate().chain_pem << support::server_certificate().key_pem;
    support::set_up(server_context.native_handle(), &support::server_certificate());
    support::set_up(client_context.native_handle(), nullptr);
    client_context.set_verify_mode(asio::ssl::verify_peer);
  }
  ~TlsInteroperation() override {
    std::remove(authority_file.c_str());
    std::remove(server_file.c_str());
  }

  // Echoes to one client until it says that it is done, or once.
  void echo_once() {
    acceptor.async_accept([this](asio::error_code ec, tcp::socket peer) {
      ASSERT_FALSE(ec);
      stream.emplace(std::move(peer), server_context, pool);
      stream->async_handshake(asio::ssl::stream_base::server, [this](asio::error_code failed) {
        handshake = failed;
        if (!failed) echo();
      });
    });
  }
  void echo() {
    net::async_read_some(*stream, pool, [this](asio::error_code ec, buffer bytes) {
      if (ec) {
        ended = ec;
        return stream->async_shutdown([](asio::error_code) {});
      }
      net::async_write(*stream, std::move(bytes), [this](asio::error_code failed, std::size_t) {
        if (failed) return;
        if (!says_goodbye) return echo();
        stream->async_shutdown([this](asio::error_code) { stream->next_layer().close(); });
      });
    });
  }
  std::string port() const { return std::to_string(acceptor.local_endpoint().port()); }

  // Runs the client while the server runs here.
  std::string serve(const std::string& client) {
    echo_once();
    std::string printed;
    std::thread running([&] { printed = output_of(client); });
    io.run();
    stream.reset();
    running.join();
    io.restart();
    EXPECT_EQ(pool.stats().in_use, 0U);
    return printed;
  }

  concurrent_pool pool;
  asio::io_context io;
  asio::ssl::context server_context{asio::ssl::context::tls_server};
  asio::ssl::context client_context{asio::ssl::context::tls_client};
  tcp::acceptor acceptor{io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::optional<net::tls_stream<tcp::socket>> stream;
  std::optional<asio::error_code> handshake, ended;
  bool says_goodbye = false;  // after one echo; else the client does
  std::string authority_file, server_file;
};

TEST_F(TlsInteroperation, ServesTheOpensslProgramWithEachVersionAndCipher) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  says_goodbye = true;
  for (const std::string_view options :
       {"-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
        "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256", "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA"}) {
    const std::string printed =
        serve("echo hello | timeout 30 openssl s_client -connect 127.0.0.1:" + port() + " -CAfile " + authority_file +
              " -verify_return_error -verify_hostname server.test -servername server.test -quiet " +
              std::string(options) + " 2>&1");
    EXPECT_TRUE(handshake && !*handshake) << options;
    EXPECT_NE(printed.find("hello"), std::string::npos) << options << ": " << printed;
  }
}

TEST_F(TlsInteroperation, ServesPythonBothWaysAtOnce) {
  if (!can_run("python3 -c 'import ssl'")) GTEST_SKIP() << "python3 is not there";
  const std::string script = ::testing::TempDir() + "slabbuf_tls_" + std::to_string(::getpid()) + ".py";
  std::ofstream(script) << R"(
import hashlib, os, socket, ssl, sys, threading
context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(['http/1.1'])
data = os.urandom(8 << 20)
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname='server.test') as tls:
        writer = threading.Thread(target=lambda: tls.sendall(data))
        writer.start()
        back = bytearray()
        while len(back) < len(data):
            back += tls.recv(65536)
        writer.join()
        print('same' if back == data else 'different', tls.version(), tls.selected_alpn_protocol())
        tls.unwrap()
)";
  const net::alpn_protocols protocols{"http/1.1"};
  protocols.accept(server_context.native_handle());
  EXPECT_EQ(serve("timeout 60 python3 " + script + " " + port() + " " + authority_file + " 2>&1"),
            "same TLSv1.3 http/1.1\n");
  EXPECT_EQ(ended, asio::error::eof);
  std::remove(script.c_str());
}

TEST_F(TlsInteroperation, IsAClientOfTheOpensslProgram) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  const process server(::popen(("timeout 30 openssl s_server -accept 127.0.0.1:0 -naccept 1 -rev -cert " + server_file +
                                " -key " + server_file + " 2>/dev/null")
                                   .c_str(),
                               "r"));
  unsigned port_there = 0;
  std::array<char, 200> line;
  while (port_there == 0 && std::fgets(line.data(), static_cast<int>(line.size()), server.get()) != nullptr)
    static_cast<void>(std::sscanf(line.data(), "ACCEPT 127.0.0.1:%u", &port_there));
  ASSERT_NE(port_there, 0U);

  stream.emplace(io, client_context, pool);
  ASSERT_TRUE(net::set_server_name(stream->native_handle(), "server.test"));
  stream->next_layer().connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(port_there)});
  std::string answer(6, '\0');
  stream->async_handshake(asio::ssl::stream_base::client, [&](asio::error_code ec) {
    ASSERT_FALSE(ec) << ec.message();
    asio::async_write(*stream, asio::buffer("hello\n", 6), [&](asio::error_code, std::size_t) {
      asio::async_read(*stream, asio::buffer(answer), [&](asio::error_code failed, std::size_t) {
        ended = failed;
        stream->next_layer().close();
      });
    });
  });
  io.run();
  ASSERT_TRUE(ended);
  EXPECT_FALSE(*ended) << ended->message();
  EXPECT_EQ(answer, "olleh\n");
  stream.reset();
  EXPECT_EQ(pool.stats().in_use, 0U);
}

}  // namespace
}  // namespace slabbuf
