// SPDX-License-Identifier: MIT
// The servers of tls_bench.cpp, each a process of its own: OpenSSL's allocator is the whole process's.
//
//     tls_bench_server asio | slabbuf | slabbuf_epoll | slabbuf_heap | slabbuf_sha256 | slabbuf_send FILE
//
// Echoes on a port of 127.0.0.1 that it prints, or sends a file, until its standard input ends. One thread, TLS 1.3
// with TLS_AES_256_GCM_SHA384, which asio::ssl and nginx would choose; slabbuf_sha256 with TLS_AES_128_GCM_SHA256,
// which prepare_for_small_connections() does; slabbuf_heap leaves OpenSSL its malloc; slabbuf_epoll is over an
// epoll_socket, the others over Asio's.
#include <slabbuf/net/epoll_socket.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/openssl_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <unistd.h>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>

#include "net/tls_send_session.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf::bench {
namespace {

using tcp = asio::ip::tcp;
using server_socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using server_acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

struct asio_session {
  asio_session(server_socket&& socket, asio::ssl::context& context, local_pool&) : stream(std::move(socket), context) {}

  static void read(std::unique_ptr<asio_session> self) {
    asio_session& one = *self;
    one.stream.async_read_some(asio::buffer(one.bytes),
                               [self = std::move(self)](asio::error_code ec, std::size_t received) mutable {
                                 if (!ec) write(std::move(self), received);
                               });
  }
  static void write(std::unique_ptr<asio_session> self, std::size_t count) {
    asio_session& one = *self;
    asio::async_write(one.stream, asio::buffer(one.bytes, count),
                      [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                        if (!ec) read(std::move(self));
                      });
  }

  asio::ssl::stream<server_socket> stream;
  std::array<char, net::read_bytes_default> bytes;
};

template <class Socket>
struct slabbuf_session {
  slabbuf_session(server_socket&& socket, asio::ssl::context& context, local_pool& from)
      : stream(Socket(std::move(socket)), context, from), pool(from) {}

  static void read(std::unique_ptr<slabbuf_session> self) {
    slabbuf_session& one = *self;
    net::async_read_some(one.stream, one.pool,
                         net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, buffer bytes) mutable {
                           if (!ec) write(std::move(self), std::move(bytes));
                         }));
  }
  static void write(std::unique_ptr<slabbuf_session> self, buffer bytes) {
    slabbuf_session& one = *self;
    net::async_write(one.stream, std::move(bytes),
                     net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                       if (!ec) read(std::move(self));
                     }));
  }

  net::tls_stream<Socket> stream;
  local_pool& pool;
};

template <class Session>
class tls_server {
 public:
  explicit tls_server(const char* cipher) {
    net::prepare_for_small_connections(tls_.native_handle());
    SSL_CTX_set_ciphersuites(tls_.native_handle(), cipher);
    support::set_up(tls_.native_handle(), &support::server_certificate());
    accept();
    std::printf("%u\n", unsigned{acceptor_.local_endpoint().port()});
    std::fflush(stdout);
    input_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code) { context_.stop(); });
  }
  void run() { context_.run(); }

 private:
  void accept() {
    acceptor_.async_accept([this](asio::error_code ec, server_socket peer) {
      if (ec) return;
      peer.set_option(tcp::no_delay(true));
      auto made = std::make_unique<Session>(std::move(peer), tls_, pool_);
      Session& one = *made;
      one.stream.async_handshake(asio::ssl::stream_base::server,
                                 [made = std::move(made)](asio::error_code failed) mutable {
                                   if (!failed) Session::read(std::move(made));
                                 });
      accept();
    });
  }

  local_pool pool_;
  asio::ssl::context tls_{asio::ssl::context::tls_server};
  asio::io_context context_{1};
  server_acceptor acceptor_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  asio::posix::stream_descriptor input_{context_, ::dup(STDIN_FILENO)};
};

template <class Session>
int serve(const char* cipher = "TLS_AES_256_GCM_SHA384") {
  tls_server<Session>(cipher).run();
  return 0;
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argument_count, char** arguments) {
  using namespace slabbuf::bench;
  const std::string_view kind = argument_count >= 2 ? arguments[1] : "";
  if (kind == "asio") return serve<asio_session>();
  if (kind == "slabbuf_heap") return serve<slabbuf_session<server_socket>>();
  if (kind.starts_with("slabbuf")) slabbuf::net::install_openssl_allocator();
  if (kind == "slabbuf") return serve<slabbuf_session<server_socket>>();
  if (kind == "slabbuf_epoll") return serve<slabbuf_session<slabbuf::net::epoll_socket<tcp>>>();
  if (kind == "slabbuf_sha256") return serve<slabbuf_session<server_socket>>("TLS_AES_128_GCM_SHA256");
  if (kind == "slabbuf_send" && argument_count == 3) {
    send_session::path = arguments[2];
    return serve<send_session>();
  }
  std::fputs("tls_bench_server asio | slabbuf | slabbuf_epoll | slabbuf_heap | slabbuf_sha256 | slabbuf_send FILE\n",
             stderr);
  return 2;
}
