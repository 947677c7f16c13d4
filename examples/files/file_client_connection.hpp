// SPDX-License-Identifier: MIT
// One connection of file_client, over TCP or TLS, and one exchange at a time on it: a request, with a body that is read
// as it is sent, and the response, whose body is handed on in the block it came in. Threads: the one that runs the
// io_context. Lifetime: shared with its pending operations. The exchange must live until on_end(), or close().
//
//     exchange() --> resolve, connect, shake hands (unless connected) --> write head --> [100 Continue] --> write body
//                                                                         read head and body ------------> on_end()
// Reading begins with the request: a server that refuses a body says so while it is sent.
#pragma once

#include "http/response_parser.hpp"
#include "http/url.hpp"

#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/local_pool.hpp>

#include <asio/basic_stream_socket.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/basic_resolver.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ssl/context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace slabbuf::examples {

/// Bytes a read or a write moves at most: a block of the pool each.
inline constexpr std::size_t transfer_block_bytes = 128 << 10;

struct client_options {
  std::chrono::seconds timeout{30};  // in which nothing is received, no block sent, no step done
  std::string ca_file;               // trusted instead of the system's authorities, unless empty
  bool insecure = false;             // any certificate will do
  std::size_t connections = 1;
  std::size_t retries = 5;    // attempts in a row that move nothing
  std::size_t redirects = 5;  // in all
};

/// What all connections share. Throws std::system_error when `ca_file` cannot be used.
struct client_setup {
  explicit client_setup(const client_options& chosen);

  const client_options options;
  // A block each way, OpenSSL's way included, and the state of operations, for each connection: and for reading the
  // file again at the end.
  local_pool pool;
  asio::io_context context{1};
  // That are under way. The system's cannot be told to stop, and the context waits for them when it dies.
  std::size_t lookups = 0;
  net::deadline_wheel<asio::io_context::executor_type> deadlines{context};
  asio::ssl::context tls{asio::ssl::context::tls_client};
};

struct client_request {
  http_url url;
  std::string method;
  std::vector<std::pair<std::string, std::string>> fields;
  std::uint64_t body_bytes = 0;  // with a body, Content-Length is added
  bool asks_first = true;        // and Expect: the body waits for 100 Continue, or for a moment
};

/// How an exchange ended.
struct exchange_end {
  enum class reason {
    complete,   // the response came as a whole
    broken,     // the connection could not be made, or ended early, or stood still for too long
    untrusted,  // the certificate is not accepted, or TLS cannot be agreed on
    not_http,   // what came is no response, or larger than the limits
    no_source,  // the body could not be read
  };
  reason why = reason::complete;
  std::string message;  // for people, unless complete
};

class client_exchange : public response_handler {
 public:
  /// The next bytes of the request's body, at most `bytes_max`; empty when they cannot be had, which ends the exchange.
  virtual buffer next_body_bytes(std::size_t bytes_max) noexcept = 0;
  /// The last call. It may begin another exchange on the connection.
  virtual void on_end(const exchange_end& how) = 0;

 protected:
  ~client_exchange() = default;
};

class client_connection final : public std::enable_shared_from_this<client_connection>, private response_handler {
 public:
  explicit client_connection(client_setup& setup);
  client_connection(const client_connection&) = delete;
  client_connection& operator=(const client_connection&) = delete;

  /// Begins; no other exchange may be under way. Connects anew unless the connection is one to the same server and
  /// open.
  void exchange(const client_request& request, client_exchange& with);

  /// Closes it. An exchange that is under way never ends.
  void close() noexcept;

 private:
  using socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
  using resolver = asio::ip::basic_resolver<asio::ip::tcp, asio::io_context::executor_type>;
  using tls_stream = net::tls_stream<socket>;
  // Shared with the operations on it: one that is dropped lives until they have ended.
  using transport = std::variant<socket, tls_stream>;
  enum class body_state {
    held_back,  // until 100 Continue, or for a moment once the head is sent
    wanted,     // goes out, as far as there is one
    unwanted,   // the server has answered already
  };
  struct expire {
    client_connection* connection;
    void operator()() const { connection->on_deadline(); }
  };

  void on_interim(int status) noexcept override;
  void on_head(const response_head& head) noexcept override;
  void on_body(std::span<const std::byte> bytes) noexcept override;

  template <class Handler>
  auto guarded(Handler handler);
  socket& lowest() noexcept;
  void moved_on();

  void begin();
  void resolve();
  void connect(const resolver::results_type& addresses);
  void handshake();
  void send_head();
  void send_body();
  void on_sent(const asio::error_code& ec);
  void read();
  void on_received(const asio::error_code& ec, const buffer& received);
  bool may_be_used_again(bool has_surplus) const noexcept;
  void fail(exchange_end::reason why, const std::string& message);
  void end(const exchange_end& how);
  void on_deadline();
  void drop() noexcept;

  client_setup& setup_;
  resolver resolver_;
  std::shared_ptr<transport> transport_;
  std::optional<http_url> connected_to_;
  net::deadline<expire> deadline_;
  response_parser parser_;
  client_request request_;
  client_exchange* exchange_ = nullptr;  // under way
  std::uint64_t exchange_number_ = 0;    // handlers of one that has ended do nothing
  std::uint64_t body_bytes_left_ = 0;
  body_state body_ = body_state::wanted;
  bool stale_ = false;      // the connection is of an earlier exchange, and nothing has come since
  bool head_sent_ = false;  // of this exchange: before, nothing else may be
  bool sending_ = false;
};

}  // namespace slabbuf::examples
