// SPDX-License-Identifier: MIT
// 6: a server written for asio::ssl::stream, and what changes when it is to hold no buffers while it is idle: one type.
// Built twice, with -DBEFORE and without; nothing else differs.
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/pool.hpp>

#include <openssl/x509.h>
#include <asio.hpp>
#include <asio/ssl.hpp>

#include <cstdio>

using asio::ip::tcp;
#ifdef BEFORE
using server_stream = asio::ssl::stream<tcp::socket>;
#else
slabbuf::concurrent_pool blocks({.budget_bytes_max = 64 << 20});
struct server_stream : slabbuf::net::tls_stream<tcp::socket> {
  server_stream(tcp::socket socket, asio::ssl::context& tls) : tls_stream(std::move(socket), tls, blocks) {}
};
#endif

struct session {
  void read() {
    stream.async_read_some(asio::buffer(bytes), [this](asio::error_code ec, std::size_t count) {
      if (ec) return stream.async_shutdown([](asio::error_code) {});
      asio::async_write(stream, asio::buffer(bytes, count),
                        [this](asio::error_code failed, std::size_t) { failed ? void() : read(); });
    });
  }
  server_stream stream;
  char bytes[4096];
};

int main() {
  asio::io_context context;
  asio::ssl::context tls(asio::ssl::context::tls);
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(X509_new(), &X509_free);  // others read files
  for (auto* each : {X509_getm_notBefore(certificate.get()), X509_getm_notAfter(certificate.get())})
    X509_gmtime_adj(each, 0);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  SSL_CTX_use_certificate(tls.native_handle(), certificate.get());
  SSL_CTX_use_PrivateKey(tls.native_handle(), key.get());
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  asio::ssl::stream<tcp::socket> client(context, tls);
  client.next_layer().connect(acceptor.local_endpoint());
  session one{server_stream(acceptor.accept(), tls), {}};
  one.stream.async_handshake(server_stream::server, [&](asio::error_code ec) { ec ? void() : one.read(); });
  std::thread running([&] { context.run(); });
  client.handshake(client.client);
  std::string reply(asio::write(client, asio::buffer("hello", 5)), '\0');
  asio::read(client, asio::buffer(reply));
  client.shutdown();  // throws unless the server has said goodbye, too
  running.join();
  std::puts(reply.c_str());
}
