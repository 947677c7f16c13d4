// SPDX-License-Identifier: MIT
// TLS streams against peers that nobody here wrote: the openssl program on either side, with each cipher there is,
// Python's ssl module, and curl.
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/ssl/context.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/command_output.hpp"
#include "support/seeded_random.hpp"
#include "support/temporary_files.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf {
namespace {

using tcp = asio::ip::tcp;
using support::can_run;
using support::certificate;
using support::output_of;

struct cipher {
  std::string name;
  bool is_tls13;
  int authentication;  // NID_auth_rsa, NID_auth_ecdsa; NID_auth_any: either
};

// Those of OpenSSL's default list that need certificates alone: no keys shared beforehand, no passwords.
std::vector<cipher> default_ciphers() {
  asio::ssl::context defaults(asio::ssl::context::tls);
  const STACK_OF(SSL_CIPHER)* const all = SSL_CTX_get_ciphers(defaults.native_handle());
  std::vector<cipher> found;
  for (int index = 0; index < sk_SSL_CIPHER_num(all); ++index) {
    const SSL_CIPHER* const each = sk_SSL_CIPHER_value(all, index);
    const std::set<int> exchanges{NID_kx_rsa, NID_kx_dhe, NID_kx_ecdhe, NID_kx_any};
    if (exchanges.count(SSL_CIPHER_get_kx_nid(each)) == 0) continue;
    found.push_back(
        {SSL_CIPHER_get_name(each), SSL_CIPHER_get_kx_nid(each) == NID_kx_any, SSL_CIPHER_get_auth_nid(each)});
  }
  return found;
}

class TlsInteroperation : public ::testing::Test {
 protected:
  TlsInteroperation() {
    files.write("authority.pem", support::test_authority().chain_pem);
    for (const certificate* own : {&support::server_certificate(), &support::rsa_server_certificate()})
      support::set_up(server_context.native_handle(), own);
    SSL_CTX_set_dh_auto(server_context.native_handle(), 1);
    support::set_up(client_context.native_handle(), nullptr);
    client_context.set_verify_mode(asio::ssl::verify_peer);
  }

  // A server's stream on the next connection, its hands shaken; then `talk`.
  template <class Talk>
  void accept(Talk talk) {
    acceptor.async_accept([this, talk](asio::error_code ec, tcp::socket peer) {
      ASSERT_FALSE(ec);
      stream.emplace(std::move(peer), server_context, pool);
      stream->async_handshake(asio::ssl::stream_base::server, [this, talk](asio::error_code failed) {
        handshake = failed;
        if (!failed) talk();
      });
    });
  }
  // Until the client says goodbye, or `says_goodbye` after one answer.
  void echo(bool says_goodbye) {
    net::async_read_some(*stream, pool, [this, says_goodbye](asio::error_code ec, buffer bytes) {
      if (ec) {
        ended = ec;
        return stream->async_shutdown([](asio::error_code) {});
      }
      net::async_write(*stream, std::move(bytes), [this, says_goodbye](asio::error_code failed, std::size_t) {
        if (failed) return;
        if (!says_goodbye) return echo(false);
        stream->async_shutdown([this](asio::error_code) { stream->next_layer().close(); });
      });
    });
  }
  // One request, one answer.
  void answer_http(const std::string& body) {
    net::async_read_until(*stream, request, pool, "\r\n\r\n", [this, &body](asio::error_code ec, std::size_t) {
      ASSERT_FALSE(ec) << ec.message();
      request.clear();
      buffer_chain reply;
      const std::string head =
          "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
      reply.append_copy(pool, std::as_bytes(std::span(head)));
      reply.append_copy(pool, std::as_bytes(std::span(body)));
      net::async_write(*stream, std::move(reply), [this](asio::error_code failed, std::size_t) {
        ASSERT_FALSE(failed) << failed.message();
        stream->async_shutdown([this](asio::error_code) { stream->next_layer().close(); });
      });
    });
  }
  std::string port() const { return std::to_string(acceptor.local_endpoint().port()); }
  // Where an s_server listens; 0 when it does not.
  static unsigned short port_of(const support::running_command& server) {
    unsigned found = 0;
    std::array<char, 200> line;
    while (found == 0 && std::fgets(line.data(), static_cast<int>(line.size()), server.get()) != nullptr)
      static_cast<void>(std::sscanf(line.data(), "ACCEPT 127.0.0.1:%u", &found));
    return static_cast<unsigned short>(found);
  }
  // What `s_server -rev` there makes of a line, over the stream, which is closed then; or what went wrong.
  std::string ask_for_reverse(unsigned short port_there) {
    std::string answer(6, '\0');
    stream->next_layer().connect({asio::ip::address_v4::loopback(), port_there});
    stream->async_handshake(asio::ssl::stream_base::client, [&](asio::error_code failed) {
      if (failed) {
        answer = failed.message();
        return;
      }
      asio::async_write(*stream, asio::buffer("hello\n", 6), [&](asio::error_code, std::size_t) {
        asio::async_read(*stream, asio::buffer(answer), [&](asio::error_code broken, std::size_t) {
          if (broken) answer = broken.message();
          stream->next_layer().close();
        });
      });
    });
    io.run();
    io.restart();
    return answer;
  }

  // Runs the client while the server runs here.
  std::string run(const std::string& client) {
    std::string printed;
    std::thread running([&] { printed = output_of(client); });
    io.run();
    running.join();
    io.restart();
    EXPECT_EQ(pool.stats().in_use, 0U);
    return printed;
  }

  support::temporary_files files;
  concurrent_pool pool;
  asio::io_context io;
  asio::ssl::context server_context{asio::ssl::context::tls_server};
  asio::ssl::context client_context{asio::ssl::context::tls_client};
  tcp::acceptor acceptor{io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::optional<net::tls_stream<tcp::socket>> stream;
  std::optional<asio::error_code> handshake, ended;
  buffer_chain request;
};

TEST_F(TlsInteroperation, ServesTheOpensslProgramWithEachCipher) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  const std::vector<cipher> all = default_ciphers();
  ASSERT_GT(all.size(), 20U);
  for (const cipher& each : all) {
    accept([this] { echo(true); });
    const std::string printed = run(
        "echo hello | timeout 60 openssl s_client -connect 127.0.0.1:" + port() + " -CAfile " +
        files.path("authority.pem") + " -verify_return_error -verify_hostname server.test -servername server.test " +
        "-quiet " + (each.is_tls13 ? "-tls1_3 -ciphersuites " : "-tls1_2 -cipher ") + each.name + " 2>&1");
    ASSERT_TRUE(handshake && !*handshake) << each.name << ": " << printed;
    EXPECT_EQ(SSL_get_cipher_name(stream->native_handle()), each.name);
    EXPECT_NE(printed.find("hello"), std::string::npos) << each.name << ": " << printed;
    stream.reset();
  }
}

TEST_F(TlsInteroperation, IsAClientOfTheOpensslProgramWithEachCipher) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  const std::vector<cipher> all = default_ciphers();
  const auto written = [this](const std::string& name, const certificate& one) {
    return files.write(name, one.chain_pem + one.key_pem);
  };
  const std::string ec = written("ec.pem", support::server_certificate());
  const std::string rsa = written("rsa.pem", support::rsa_server_certificate());
  const support::running_command server =
      support::run_command("timeout 120 openssl s_server -accept 127.0.0.1:0 -naccept " + std::to_string(all.size()) +
                           " -rev -cert " + ec + " -key " + ec + " -dcert " + rsa + " -dkey " + rsa + " 2>/dev/null");
  const unsigned short port_there = port_of(server);
  ASSERT_NE(port_there, 0U);

  for (const cipher& each : all) {
    stream.emplace(io, client_context, pool);
    SSL* const ssl = stream->native_handle();
    ASSERT_TRUE(net::set_server_name(ssl, "server.test"));
    ASSERT_EQ(
        each.is_tls13 ? SSL_set_ciphersuites(ssl, each.name.c_str()) : SSL_set_cipher_list(ssl, each.name.c_str()), 1);
    SSL_set_max_proto_version(ssl, each.is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    ASSERT_EQ(ask_for_reverse(port_there), "olleh\n") << each.name;
    EXPECT_EQ(SSL_get_cipher_name(ssl), each.name);
    stream.reset();
    EXPECT_EQ(pool.stats().in_use, 0U);
  }
}

TEST_F(TlsInteroperation, ResumesSessionsOfTheOpensslProgram) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  ASSERT_TRUE(net::prepare_for_small_connections(server_context.native_handle()));
  for (const std::string version : {"2", "3"}) {
    for (const std::string keeps_or_offers : {"-sess_out ", "-sess_in "}) {
      accept([this] { echo(true); });
      const std::string printed = run("echo hello | timeout 60 openssl s_client -connect 127.0.0.1:" + port() +
                                      " -CAfile " + files.path("authority.pem") + " -quiet -tls1_" + version + " " +
                                      keeps_or_offers + files.path("session" + version) + " 2>&1");
      ASSERT_TRUE(handshake && !*handshake) << printed;
      EXPECT_EQ(SSL_session_reused(stream->native_handle()) != 0, keeps_or_offers == "-sess_in ") << printed;
      EXPECT_NE(printed.find("hello"), std::string::npos) << printed;
      ASSERT_NE(files.read("session" + version), "") << "no ticket";
      stream.reset();
    }
  }
}

TEST_F(TlsInteroperation, ResumesItsSessionsWithTheOpensslProgram) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  const certificate& own = support::server_certificate();
  const std::string file = files.write("own.pem", own.chain_pem + own.key_pem);
  const support::running_command server =
      support::run_command("timeout 120 openssl s_server -accept 127.0.0.1:0 -naccept 4 -rev -cert " + file + " -key " +
                           file + " 2>/dev/null");
  const unsigned short port_there = port_of(server);
  ASSERT_NE(port_there, 0U);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    SSL_SESSION* kept = nullptr;
    for (const bool is_again : {false, true}) {
      stream.emplace(io, client_context, pool);
      SSL* const ssl = stream->native_handle();
      SSL_set_max_proto_version(ssl, version);
      EXPECT_EQ(SSL_set_session(ssl, kept), 1);  // none, the first time
      EXPECT_EQ(ask_for_reverse(port_there), "olleh\n");
      EXPECT_EQ(SSL_session_reused(ssl) != 0, is_again) << version;
      if (!is_again) kept = SSL_get1_session(ssl);
      // Or OpenSSL takes the session for a bad one.
      SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
      stream.reset();
    }
    SSL_SESSION_free(kept);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
}

TEST_F(TlsInteroperation, EchoesAHundredMebibytesToPythonBothWaysAtOnce) {
  if (!can_run("python3 -c 'import ssl'")) GTEST_SKIP() << "python3 is not there";
  const std::string script = files.write("client.py", R"(
import os, socket, ssl, sys, threading
context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(['http/1.1'])
context.maximum_version = ssl.TLSVersion[sys.argv[3]]
data = os.urandom(100 << 20)
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname='server.test') as tls:
        writer = threading.Thread(target=lambda: tls.sendall(data))
        writer.start()
        back = bytearray(len(data))
        there = 0
        while there < len(data):
            there += tls.recv_into(memoryview(back)[there:]) or sys.exit('closed')
        writer.join()
        print('same' if back == data else 'different', tls.version(), tls.selected_alpn_protocol())
        tls.unwrap()
)");
  const net::alpn_protocols protocols{"http/1.1"};
  protocols.accept(server_context.native_handle());
  for (const std::string version : {"1.2", "1.3"}) {
    accept([this] { echo(false); });
    ended.reset();
    EXPECT_EQ(run("timeout 120 python3 " + script + " " + port() + " " + files.path("authority.pem") + " TLSv1_" +
                  version.substr(2) + " 2>&1"),
              "same TLSv" + version + " http/1.1\n");
    EXPECT_EQ(ended, asio::error::eof);
    stream.reset();
  }
}

TEST_F(TlsInteroperation, AnswersCurl) {
  if (!can_run("curl --version")) GTEST_SKIP() << "curl is not there";
  support::seeded_random random(8);
  std::string body(5'000'001, '\0');
  for (char& each : body) each = static_cast<char>(random.bits());
  const net::alpn_protocols protocols{"http/1.1"};
  protocols.accept(server_context.native_handle());
  for (const std::string version : {"1.2", "1.3"}) {
    accept([this, &body] { answer_http(body); });
    const std::string printed =
        run("timeout 60 curl --silent --show-error --http1.1 --tls-max " + version + " --cacert " +
            files.path("authority.pem") + " --resolve server.test:" + port() + ":127.0.0.1 --output " +
            files.path("body") + " --write-out '%{http_code} %{http_version} %{ssl_verify_result}\n' " +
            "https://server.test:" + port() + "/ 2>&1");
    EXPECT_EQ(printed, "200 1.1 0\n");
    EXPECT_TRUE(files.read("body") == body);
    EXPECT_EQ(net::agreed_protocol(stream->native_handle()), "http/1.1");
    EXPECT_EQ(SSL_get_version(stream->native_handle()), "TLSv" + version);
    stream.reset();
  }
}

}  // namespace
}  // namespace slabbuf
