// SPDX-License-Identifier: MIT
// Engines for tests, without Asio: contexts, lines between them, and two that have shaken hands.
// Threads: one.
#pragma once

#include <slabbuf/net/detail/tls_engine.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/tls_certificates.hpp"

namespace slabbuf::support {

using net::detail::tls_engine;
using net::detail::tls_result;
using net::detail::tls_status;

struct context_deleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using context_ptr = std::unique_ptr<SSL_CTX, context_deleter>;

inline context_ptr make_context(const SSL_METHOD* method, const certificate* own, int version) {
  context_ptr made(SSL_CTX_new(method));
  set_up(made.get(), own, version);
  return made;
}

/// Both ends of a connection; not blocking.
struct descriptor_pair {
  descriptor_pair() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0); }
  descriptor_pair(const descriptor_pair&) = delete;
  descriptor_pair& operator=(const descriptor_pair&) = delete;
  ~descriptor_pair() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int ends[2];  // the engine's, the relay's
};

inline bool wants(const tls_result& result) {
  return result.status == tls_status::want_read || result.status == tls_status::want_write;
}

/// Both sides a step at a time, until neither wants more.
inline void shake_hands(tls_engine& server, int server_line, tls_engine& client, int client_line) {
  while (static_cast<int>(wants(server.handshake(server_line, true))) +
             static_cast<int>(wants(client.handshake(client_line, false))) !=
         0)
    continue;
}

/// Two with a line between them, of contexts that outlive them; their hands are not shaken yet.
struct linked_engines {
  linked_engines(SSL_CTX* of_server, SSL_CTX* of_client)
      : server(of_server, pool.core()), client(of_client, pool.core()) {}
  void shake_hands() { support::shake_hands(server, line.ends[0], client, line.ends[1]); }

  concurrent_pool pool;
  descriptor_pair line;
  tls_engine server;
  tls_engine client;
};

struct context_pair {
  context_ptr server_context;
  context_ptr client_context;
};

/// Two that have shaken hands.
class engine_pair : public context_pair, public linked_engines {
 public:
  explicit engine_pair(int version = TLS1_3_VERSION)
      : engine_pair(make_context(TLS_server_method(), &server_certificate(), version),
                    make_context(TLS_client_method(), nullptr, version)) {}
  engine_pair(context_ptr of_server, context_ptr of_client)
      : context_pair{std::move(of_server), std::move(of_client)},
        linked_engines(server_context.get(), client_context.get()) {
    linked_engines::shake_hands();
  }

  /// All that is there, and how that ended.
  static tls_result read_all(tls_engine& engine, int descriptor, std::string& into) {
    std::vector<char> bytes(65536);
    const ::iovec part{bytes.data(), bytes.size()};
    for (;;) {
      std::size_t count = 0;
      const tls_result result = engine.read(descriptor, {&part, 1}, count);
      if (result.status != tls_status::done) return result;
      into.append(bytes.data(), count);
    }
  }
};

}  // namespace slabbuf::support
