// SPDX-License-Identifier: MIT
// A session of tls_server.cpp that sends a file as the answer to each request of HTTP, whatever it asks for: blocks of
// 64 KiB from a pool, read and written two at a time.
// Threads: the server's.
// Lifetime: owned by its pending operation.
#pragma once

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>

#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace slabbuf::bench {

struct send_session {
  using socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
  static inline const char* path = nullptr;  // of the file

  send_session(socket&& accepted, asio::ssl::context& context, local_pool& from)
      : stream(std::move(accepted), context, from), pool(from), file(::open(path, O_RDONLY | O_CLOEXEC)) {
    struct ::stat found {};
    if (file < 0 || ::fstat(file, &found) != 0) std::abort();
    bytes = static_cast<std::size_t>(found.st_size);
  }
  send_session(const send_session&) = delete;
  send_session& operator=(const send_session&) = delete;
  ~send_session() { ::close(file); }

  static void read(std::unique_ptr<send_session> self) {
    send_session& one = *self;
    net::async_read_until(one.stream, one.request, one.pool, "\r\n\r\n",
                          net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                            if (ec) return;
                            send_session& asked = *self;
                            asked.request.clear();
                            asked.sent = 0;
                            const std::string head =
                                "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(asked.bytes) + "\r\n\r\n";
                            buffer_chain answer;
                            answer.append_copy(asked.pool, std::as_bytes(std::span(head)));
                            write(std::move(self), std::move(answer));
                          }));
  }
  static void write(std::unique_ptr<send_session> self, buffer_chain answer) {
    send_session& one = *self;
    for (int block = 0; block < 2 && one.sent < one.bytes; ++block) {
      buffer part = one.pool.acquire(std::size_t{64} << 10);
      const ::ssize_t count = ::pread(one.file, part.prepare().data(), part.capacity(), static_cast<::off_t>(one.sent));
      if (count <= 0) std::abort();
      part.commit(static_cast<std::size_t>(count));
      one.sent += static_cast<std::size_t>(count);
      answer.append(std::move(part));
    }
    net::async_write(one.stream, std::move(answer),
                     net::bind_pool(one.pool, [self = std::move(self)](asio::error_code ec, std::size_t) mutable {
                       if (ec) return;
                       self->sent < self->bytes ? write(std::move(self), {}) : read(std::move(self));
                     }));
  }

  net::tls_stream<socket> stream;
  local_pool& pool;
  buffer_chain request;
  int file;
  std::size_t bytes = 0;
  std::size_t sent = 0;
};

}  // namespace slabbuf::bench
