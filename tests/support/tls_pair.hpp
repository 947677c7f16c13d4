// SPDX-License-Identifier: MIT
// Two connected TLS streams on loopback, of one kind or of two: tls_stream and asio::ssl::stream alike.
// Threads: one.
// Lifetime: the io_context must outlive the pair.
#pragma once

#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/io_context.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>

#include <optional>
#include <utility>

#include "support/handlers.hpp"
#include "support/loopback_pair.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf::support {

using tls_socket = loopback_pair::socket;
using asio_tls_stream = asio::ssl::stream<tls_socket>;
using pool_tls_stream = net::tls_stream<tls_socket>;

template <class Stream>
Stream make_tls_stream(tls_socket&& socket, asio::ssl::context& context, concurrent_pool& pool) {
  if constexpr (std::is_same_v<Stream, asio_tls_stream>) {
    return Stream(std::move(socket), context);
  } else {
    return Stream(std::move(socket), context, pool);
  }
}

/// Contexts of both sides. The client trusts the test authority.
struct tls_contexts {
  explicit tls_contexts(int version = TLS1_3_VERSION) {
    set_up(server.native_handle(), &server_certificate(), version);
    set_up(client.native_handle(), nullptr, version);
    client.set_verify_mode(asio::ssl::verify_peer);
  }
  asio::ssl::context server{asio::ssl::context::tls_server};
  asio::ssl::context client{asio::ssl::context::tls_client};
};

template <class Server, class Client = Server>
struct basic_tls_pair {
  basic_tls_pair(asio::io_context& io, tls_contexts& contexts, concurrent_pool& pool)
      : basic_tls_pair(io, loopback_pair(io), contexts, pool) {}
  basic_tls_pair(asio::io_context& io, loopback_pair&& sockets, tls_contexts& contexts, concurrent_pool& pool)
      : context(io),
        server(make_tls_stream<Server>(std::move(sockets.near), contexts.server, pool)),
        client(make_tls_stream<Client>(tls_socket(std::move(sockets.far)), contexts.client, pool)) {}

  /// Both sides at once. Returns how each ended.
  std::pair<asio::error_code, asio::error_code> shake_hands() {
    std::optional<asio::error_code> server_ec, client_ec;
    server.async_handshake(asio::ssl::stream_base::server, noting(server_ec));
    client.async_handshake(asio::ssl::stream_base::client, noting(client_ec));
    while (!server_ec || !client_ec) context.run_one();
    context.restart();
    return {*server_ec, *client_ec};
  }

  asio::io_context& context;
  Server server;
  Client client;
};

using tls_pair = basic_tls_pair<pool_tls_stream>;

}  // namespace slabbuf::support
