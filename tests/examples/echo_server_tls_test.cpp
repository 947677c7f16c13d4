// SPDX-License-Identifier: MIT
// The echo server's TLS connections, by its program, with clients that nobody here wrote.
#include "examples/echo_server_fixture.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/host_name_verification.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/command_output.hpp"
#include "support/temporary_files.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf {
namespace {

using asio::ip::tcp;
using support::can_run;
using support::certificate;
using support::child_process;
using support::echo_server;
using support::expect_echo;
using support::long_text;
using support::output_of;
using support::read_port;
using support::read_to_end;

using tls_client = asio::ssl::stream<tcp::socket>;

class EchoServerTls : public support::EchoServer {
 protected:
  EchoServerTls() {
    put(support::server_certificate());
    files.write("authority.pem", support::test_authority().chain_pem);
    support::set_up(client_context.native_handle(), nullptr);
    client_context.set_verify_mode(asio::ssl::verify_peer);
  }
  void put(const certificate& one) {
    files.write("cert.pem", one.chain_pem);
    files.write("key.pem", one.key_pem);
  }
  std::vector<std::string> with_files(std::vector<std::string> options) const {
    options.insert(options.end(), {"--cert", files.path("cert.pem"), "--key", files.path("key.pem")});
    return options;
  }
  echo_server& start(const std::vector<std::string>& options = {}) {
    return server.emplace("tls", with_files(options));
  }
  std::string port() const { return std::to_string(server->endpoint().port()); }

  // Connected, its hands shaken; the certificate must be for this name.
  std::unique_ptr<tls_client> connect_tls(const std::string& name = "server.test") {
    auto made = std::make_unique<tls_client>(connect(*server), client_context);
    made->set_verify_callback(asio::ssl::host_name_verification(name));
    made->handshake(tls_client::client);
    return made;
  }
  // The name in the certificate that a connection of now gets.
  std::string name_served() {
    tls_client client(connect(*server), client_context);
    client.handshake(tls_client::client);
    X509* const seen = SSL_get1_peer_certificate(client.native_handle());
    char name[100] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(seen), NID_commonName, name, sizeof name);
    X509_free(seen);
    asio::error_code ignored;
    client.shutdown(ignored);
    return name;
  }

  support::temporary_files files;
  asio::ssl::context client_context{asio::ssl::context::tls_client};
  std::optional<echo_server> server;
};

TEST_F(EchoServerTls, RefusesACommandLineWithoutBothFiles) {
  const std::string cert = files.path("cert.pem");
  const std::string key = files.path("key.pem");
  support::expect_refusal({"--tls", "127.0.0.1:0"}, 2, "--cert");
  support::expect_refusal({"--tls", "127.0.0.1:0", "--cert", cert}, 2, "--key");
  support::expect_refusal({"--tls", "127.0.0.1:0", "--key", key}, 2, "--cert");
  support::expect_refusal({"--cert", cert, "--key", key}, 2, "--tls");
  support::expect_refusal({"--tls", "127.0.0.1", "--cert", cert, "--key", key}, 2, "ADDRESS:PORT");
}

TEST_F(EchoServerTls, DoesNotStartWithFilesThatItCannotUse) {
  const auto refused = [&](const std::string& part) {
    support::expect_refusal(with_files({"--tls", "127.0.0.1:0"}), 1, part);
  };
  files.write("key.pem", support::client_certificate().key_pem);
  refused("cannot use '" + files.path("key.pem") + "' as the private key");
  files.write("cert.pem", "garbage");
  refused("cannot use '" + files.path("cert.pem") + "' as a certificate");
  files.remove("cert.pem");
  refused("cannot use '" + files.path("cert.pem") + "' as a certificate in PEM: No such file or directory");
}

TEST_F(EchoServerTls, EchoesAndSaysGoodbyeWhenItDrains) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    start({"--threads", "2"});
    SSL_CTX_set_max_proto_version(client_context.native_handle(), version);
    const auto idle = connect_tls();
    const auto busy = connect_tls();
    EXPECT_EQ(SSL_version(busy->native_handle()), version);
    expect_echo(*idle, "hello");
    const std::string text = long_text(100'000);
    for (int round = 0; round < 20; ++round) expect_echo(*busy, text);
    std::thread leaving([&] { EXPECT_EQ(read_to_end(*busy), ""); });
    server->child().signal(SIGTERM);
    EXPECT_EQ(read_to_end(*idle), "") << "a close_notify";
    leaving.join();
    EXPECT_EQ(server->child().wait(), 0);
    EXPECT_NE(server->child().standard_error().find(" 0 in use"), std::string::npos);
  }
}

TEST_F(EchoServerTls, ServesBesideTheOthers) {
  child_process child(support::echo_server_command(
      with_files({"--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--tls", "127.0.0.1:0"})));
  tcp::socket plain(context);
  plain.connect({asio::ip::address_v4::loopback(), read_port(child, "tcp")});
  read_port(child, "udp");
  tls_client secure(context, client_context);
  secure.next_layer().connect({asio::ip::address_v4::loopback(), read_port(child, "tls")});
  secure.handshake(tls_client::client);
  expect_echo(plain, "plain");
  expect_echo(secure, "secret");
  child.signal(SIGTERM);
  EXPECT_EQ(read_to_end(plain), "");
  EXPECT_EQ(read_to_end(secure), "");
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(EchoServerTls, EchoesEverythingToAPeerThatHasSaidGoodbye) {
  start();
  // By OpenSSL alone: Asio's stream cannot say goodbye and go on reading.
  tcp::socket socket = connect(*server);
  const std::unique_ptr<SSL, void (*)(SSL*)> client(SSL_new(client_context.native_handle()), &SSL_free);
  SSL_set_fd(client.get(), socket.native_handle());
  ASSERT_EQ(SSL_connect(client.get()), 1);
  const std::string text = long_text(60'000);  // as much as the sockets take, while nobody reads
  ASSERT_EQ(SSL_write(client.get(), text.data(), static_cast<int>(text.size())), static_cast<int>(text.size()));
  EXPECT_EQ(SSL_shutdown(client.get()), 0) << "sent, not answered";
  std::string answer;
  std::vector<char> bytes(20'000);
  int count = 0;
  while ((count = SSL_read(client.get(), bytes.data(), static_cast<int>(bytes.size()))) > 0)
    answer.append(bytes.data(), static_cast<std::size_t>(count));
  EXPECT_EQ(SSL_get_error(client.get(), count), SSL_ERROR_ZERO_RETURN);
  EXPECT_TRUE(answer == text);
  server->stop();
}

TEST_F(EchoServerTls, ServesTheOpensslProgram) {
  if (!can_run("openssl version")) GTEST_SKIP() << "the openssl program is not there";
  start({"--idle-timeout", "1"});  // the client leaves when the server does
  const std::string printed =
      output_of("echo hello | timeout 60 openssl s_client -connect 127.0.0.1:" + port() + " -CAfile " +
                files.path("authority.pem") + " -verify_return_error -quiet 2>&1");
  EXPECT_NE(printed.find("hello"), std::string::npos) << printed;
  server->stop();
}

TEST_F(EchoServerTls, ServesPython) {
  if (!can_run("python3 -c 'import ssl'")) GTEST_SKIP() << "python3 is not there";
  start();
  const std::string script = files.write("client.py", R"(
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
connections = []
for _ in range(20):
    plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
    connections.append(context.wrap_socket(plain, server_hostname='server.test'))
for number, each in enumerate(connections):
    each.sendall(b'number %d' % number)
for number, each in enumerate(connections):
    assert each.recv(100) == b'number %d' % number
for each in connections:
    each.unwrap().close()
print('all', len(connections))
)");
  EXPECT_EQ(output_of("timeout 60 python3 " + script + " " + port() + " " + files.path("authority.pem") + " 2>&1"),
            "all 20\n");
  server->stop();
}

TEST_F(EchoServerTls, TakesANewCertificateWithoutDroppingConnections) {
  start({"--threads", "2"});
  std::vector<std::unique_ptr<tls_client>> before;
  for (int count = 0; count < 10; ++count) before.push_back(connect_tls());
  put(support::make_certificate("renewed.test", &support::test_authority()));
  EXPECT_EQ(name_served(), "server.test") << "not by itself";
  server->child().signal(SIGHUP);
  // The server reads its files at its own time; meanwhile everybody is served.
  while (name_served() != "renewed.test") expect_echo(*before.front(), "meanwhile");
  const auto after = connect_tls("renewed.test");
  expect_echo(*after, "after");
  for (const auto& each : before) expect_echo(*each, "still here");
  server->child().signal(SIGTERM);
  for (const auto& each : before) EXPECT_EQ(read_to_end(*each), "");
  EXPECT_EQ(read_to_end(*after), "");
  EXPECT_EQ(server->child().wait(), 0);
}

TEST_F(EchoServerTls, KeepsItsCertificateWhenTheNewOneCannotBeUsed) {
  start();
  const auto before = connect_tls();
  files.write("cert.pem", support::make_certificate("other.test").chain_pem);  // not of this key
  server->child().signal(SIGHUP);
  while (server->child().standard_error().find("the certificate in use stays: cannot use '") == std::string::npos)
    expect_echo(*before, "meanwhile");
  EXPECT_EQ(name_served(), "server.test");
  expect_echo(*before, "still here");
  put(support::make_certificate("third.test", &support::test_authority()));
  server->child().signal(SIGHUP);
  while (name_served() != "third.test") expect_echo(*before, "meanwhile");
  before->next_layer().close();
  server->stop();
}

TEST_F(EchoServerTls, WaitsForNoHandshakeLongerThanItsDeadline) {
  start({"--idle-timeout", "1"});
  tcp::socket silent = connect(*server);
  EXPECT_EQ(read_to_end(silent), "");
  // Bytes do not buy time: a ClientHello that comes one by one, as long as the server takes them.
  tcp::socket slow = connect(*server);
  const std::string hello("\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", 9);
  asio::error_code ec;
  asio::write(slow, asio::buffer(hello), ec);
  ::pollfd readable{slow.native_handle(), POLLIN, 0};
  int sent = 0;
  while (::poll(&readable, 1, 100) == 0 && !ec && ++sent < 1000) asio::write(slow, asio::buffer("x", 1), ec);
  EXPECT_LT(sent, 1000) << "a hundred seconds";
  server->stop();
}

TEST_F(EchoServerTls, SaysGoodbyeToWhomItFindsIdle) {
  start({"--idle-timeout", "1"});
  const auto client = connect_tls();
  expect_echo(*client, "x");
  EXPECT_EQ(read_to_end(*client), "");
  client->next_layer().close();
  server->stop();
}

TEST_F(EchoServerTls, SurvivesWhoeverSpeaksSomethingElse) {
  start();
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(2000, '\xff'),
                                  std::string("\x16\x03\x01\xff\xff", 5), std::string("\x17\x03\x03\x00\x01x", 6)}) {
    tcp::socket peer = connect(*server);
    asio::write(peer, asio::buffer(text));
    std::string alert;
    asio::error_code ec;
    asio::read(peer, asio::dynamic_buffer(alert), ec);
    EXPECT_TRUE(ec == asio::error::eof || ec == asio::error::connection_reset) << ec.message();
  }
  const auto client = connect_tls();
  expect_echo(*client, "x");
  client->next_layer().close();
  server->stop();
}

TEST_F(EchoServerTls, ServesManyFromABudgetOfOneBlock) {
  start({"--budget", "16KiB", "--threads", "2"});
  const std::string text = long_text(100'000);
  std::vector<std::thread> clients;
  for (int index = 0; index < 20; ++index) {
    clients.emplace_back([&] {
      asio::io_context own;
      tls_client client(own, client_context);
      client.next_layer().connect(server->endpoint());
      client.handshake(tls_client::client);
      int done = 0;
      std::string answer(text.size(), '\0');
      const auto count = [&](asio::error_code ec, std::size_t) { done += ec ? 0 : 1; };
      asio::async_write(client, asio::buffer(text), count);
      asio::async_read(client, asio::buffer(answer), count);
      own.run();
      EXPECT_TRUE(done == 2 && answer == text);
    });
  }
  for (std::thread& each : clients) each.join();
  server->stop();
  EXPECT_NE(server->child().standard_error().find("at most 16.0 KiB at once"), std::string::npos);
}

}  // namespace
}  // namespace slabbuf
