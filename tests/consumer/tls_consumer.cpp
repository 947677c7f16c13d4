// SPDX-License-Identifier: MIT
// A TLS stream, as far as it gets without a peer.
#include <slabbuf/net/openssl_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/pool.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>

#include <cstdio>

int main() {
  slabbuf::net::install_openssl_allocator();
  slabbuf::concurrent_pool pool;
  asio::io_context context;
  asio::ssl::context tls(asio::ssl::context::tls_client);
  const bool prepared = slabbuf::net::prepare_for_small_connections(tls.native_handle());
  asio::ip::tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  slabbuf::net::tls_stream<asio::ip::tcp::socket> client(context, tls, pool);
  client.next_layer().connect(acceptor.local_endpoint());
  acceptor.accept().close();
  bool failed = false;
  client.async_handshake(client.client, [&](asio::error_code ec) { failed = static_cast<bool>(ec); });
  context.run();
  std::printf("slabbuf %s: a handshake without a server %s\n", SLABBUF_VERSION_STRING, failed ? "fails" : "succeeds");
  return prepared && failed ? 0 : 1;
}
