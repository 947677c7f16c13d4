// SPDX-License-Identifier: MIT
// Bytes of a stranger to the server's side of TLS: whatever they are, the connection ends, and nothing is held.
//
//     byte 0      bit 0: TLS 1.2 at most; bit 1: what follows are changes to what a client sends, else the bytes
//                 themselves; the rest: how many bytes arrive at once, 0: all there are
//     the rest    bytes; or triples: where (2 bytes, the high one first), and what is turned over there
//
// Changes get further than bytes: into the handshake, and behind it.
#include <slabbuf/net/detail/tls_engine.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "support/tls_engines.hpp"

namespace {

using namespace slabbuf;
using support::tls_engine;
using support::tls_result;
using support::tls_status;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "tls_server_fuzz: %s\n", what);
  std::abort();
}

// The side under test: shakes hands, then echoes until its peer is done.
class server_side {
 public:
  server_side(SSL_CTX* context, concurrent_pool& pool) : engine_(context, pool.core()) {}

  void step() {
    if (ended_) return;
    tls_result result;
    if (!open_) {
      result = engine_.handshake(line.ends[0], true);
      open_ = result.status == tls_status::done;
    } else {
      std::array<char, 4096> bytes;
      ::iovec part{bytes.data(), bytes.size()};
      std::size_t count = 0;
      result = engine_.read(line.ends[0], {&part, 1}, count);
      part.iov_len = count;
      std::size_t taken = 0;
      if (count != 0) result = engine_.write(line.ends[0], {&part, 1}, taken);
    }
    ended_ = result.status != tls_status::done && !support::wants(result);
  }
  bool ended() const { return ended_; }
  std::size_t held_bytes() const { return engine_.held_bytes(); }

  support::descriptor_pair line;

 private:
  tls_engine engine_;
  bool open_ = false;
  bool ended_ = false;
};

// Whatever the server says is thrown away, so that it never waits for room.
void send_to(server_side& server, std::span<const std::uint8_t> bytes, std::size_t at_once) {
  std::array<char, 4096> answer;
  while (!bytes.empty() && !server.ended()) {
    const ::ssize_t sent = ::send(server.line.ends[1], bytes.data(), std::min(at_once, bytes.size()), MSG_NOSIGNAL);
    if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
    server.step();
    while (::recv(server.line.ends[1], answer.data(), answer.size(), 0) > 0) continue;
  }
}

// A client that means well, on a line that turns bytes over.
void talk_to(server_side& server, SSL_CTX* context, concurrent_pool& pool, std::span<const std::uint8_t> changes,
             std::size_t at_once) {
  tls_engine client(context, pool.core());
  const support::descriptor_pair line;
  std::size_t position = 0;
  bool open = false;
  for (int round = 0; round < 64 && !server.ended(); ++round) {
    if (!open) {
      const tls_result result = client.handshake(line.ends[0], false);
      open = result.status == tls_status::done;
      if (!open && !support::wants(result)) break;
    } else {
      char byte = 'c';
      const ::iovec part{&byte, 1};
      std::size_t taken = 0;
      if (client.write(line.ends[0], {&part, 1}, taken).status != tls_status::done) break;
    }
    std::array<std::uint8_t, 4096> bytes;
    for (::ssize_t count = 0; (count = ::recv(line.ends[1], bytes.data(), bytes.size(), 0)) > 0;) {
      for (std::size_t at = 0; at + 2 < changes.size(); at += 3) {
        const std::size_t where = std::size_t{changes[at]} << 8 | changes[at + 1];
        if (where >= position && where < position + static_cast<std::size_t>(count))
          bytes[where - position] ^= changes[at + 2];
      }
      position += static_cast<std::size_t>(count);
      for (std::size_t sent = 0; sent < static_cast<std::size_t>(count) && !server.ended();) {
        const std::size_t part = std::min(at_once, static_cast<std::size_t>(count) - sent);
        if (::send(server.line.ends[1], bytes.data() + sent, part, MSG_NOSIGNAL) <= 0) break;
        sent += part;
        server.step();
      }
    }
    for (::ssize_t count = 0; (count = ::recv(server.line.ends[1], bytes.data(), bytes.size(), 0)) > 0;)
      static_cast<void>(::send(line.ends[1], bytes.data(), static_cast<std::size_t>(count), MSG_NOSIGNAL));
  }
}

struct contexts {
  explicit contexts(int version)
      : server(support::make_context(TLS_server_method(), &support::server_certificate(), version)),
        client(support::make_context(TLS_client_method(), nullptr, version)) {}
  support::context_ptr server;
  support::context_ptr client;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const contexts tls12(TLS1_2_VERSION);
  static const contexts tls13(TLS1_3_VERSION);
  if (size == 0) return 0;
  const contexts& used = (data[0] & 1) != 0 ? tls12 : tls13;
  const std::size_t at_once = data[0] >> 2 != 0 ? data[0] >> 2 : SIZE_MAX;
  concurrent_pool pool;
  {
    server_side server(used.server.get(), pool);
    const std::span<const std::uint8_t> rest(data + 1, size - 1);
    if ((data[0] & 2) != 0) {
      talk_to(server, used.client.get(), pool, rest, at_once);
    } else {
      send_to(server, rest, at_once);
    }
    // The peer has gone: what is there is read, and then it is over.
    ::shutdown(server.line.ends[1], SHUT_WR);
    for (std::size_t step = 0; step < size + 1000 && !server.ended(); ++step) server.step();
    require(server.ended(), "the connection does not end");
    require(server.held_bytes() == 0, "a connection that has ended holds a block");
  }
  require(pool.stats().in_use == 0, "a block is still out");
  return 0;
}
