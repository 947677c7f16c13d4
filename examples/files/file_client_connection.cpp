// SPDX-License-Identifier: MIT
#include "files/file_client_connection.hpp"

#include <slabbuf/net/net.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/pool/version.hpp>

#include <fmt/format.h>
#include <openssl/x509_vfy.h>
#include <asio/connect.hpp>

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;
using reason = exchange_end::reason;

// What one connection takes at most: a block each way, and in TLS one of ciphertext; operations, heads.
constexpr std::size_t connection_bytes_max = 4 * transfer_block_bytes;

// A server that knows nothing of 100 Continue waits for the body as we wait for it (RFC 9110, 10.1.1).
constexpr auto continue_wait = 1s;

std::string head_of(const client_request& request) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: slabbuf-file-client/" SLABBUF_VERSION_STRING
                                 "\r\nAccept: */*\r\n",
                                 request.method, request.url.target, host_field(request.url));
  for (const auto& [name, value] : request.fields) head += fmt::format("{}: {}\r\n", name, value);
  if (request.method == "PUT") head += fmt::format("Content-Length: {}\r\n", request.body_bytes);
  if (request.body_bytes != 0 && request.asks_first) head += "Expect: 100-continue\r\n";
  return head + "\r\n";
}

}  // namespace

client_setup::client_setup(const client_options& chosen)
    : options(chosen), pool({.budget_bytes_max = (chosen.connections + 1) * connection_bytes_max}) {
  tls.set_verify_mode(options.insecure ? asio::ssl::verify_none : asio::ssl::verify_peer);
  net::prepare_for_small_connections(tls.native_handle());
  net::alpn_protocols({"http/1.1"}).offer(tls.native_handle());
  asio::error_code ec;
  options.ca_file.empty() ? tls.set_default_verify_paths(ec) : tls.load_verify_file(options.ca_file, ec);
  if (ec) throw std::system_error(ec, "cannot use the certificates of --ca " + options.ca_file);
}

client_connection::client_connection(client_setup& setup)
    : setup_(setup), resolver_(setup.context), deadline_(setup.deadlines, expire{this}) {}

void client_connection::exchange(const client_request& request, client_exchange& with) {
  request_ = request;
  exchange_ = &with;
  begin();
}

void client_connection::begin() {
  ++exchange_number_;
  body_bytes_left_ = request_.body_bytes;
  body_ = request_.body_bytes != 0 && request_.asks_first ? body_state::held_back : body_state::wanted;
  sending_ = head_sent_ = false;
  parser_.expect(request_.method == "HEAD");
  moved_on();
  stale_ = transport_ != nullptr && connected_to_->same_origin(request_.url);
  if (stale_) return send_head();
  drop();
  resolve();
}

void client_connection::close() noexcept {
  exchange_ = nullptr;
  ++exchange_number_;
  deadline_.cancel();
  drop();
}

// Handlers keep the connection and its transport, and are of this exchange.
template <class Handler>
auto client_connection::guarded(Handler handler) {
  return net::bind_pool(setup_.pool, [self = shared_from_this(), kept = transport_, number = exchange_number_,
                                      handler = std::move(handler)](auto&&... results) mutable {
    if (number == self->exchange_number_) handler(std::forward<decltype(results)>(results)...);
  });
}

client_connection::socket& client_connection::lowest() noexcept {
  tls_stream* const tls = std::get_if<tls_stream>(transport_.get());
  return tls != nullptr ? tls->next_layer() : std::get<socket>(*transport_);
}

void client_connection::moved_on() { deadline_.expires_after(setup_.options.timeout); }

void client_connection::resolve() {
  ++setup_.lookups;
  auto next = guarded([this](const asio::error_code& ec, const resolver::results_type& addresses) {
    if (ec) return fail(reason::broken, fmt::format("cannot find {}: {}", request_.url.host, ec.message()));
    connect(addresses);
  });
  resolver_.async_resolve(request_.url.host, std::to_string(request_.url.port),
                          [&setup = setup_, next = std::move(next)](const asio::error_code& ec,
                                                                    const resolver::results_type& addresses) mutable {
                            --setup.lookups;
                            next(ec, addresses);
                          });
}

void client_connection::connect(const resolver::results_type& addresses) {
  moved_on();
  transport_ = request_.url.tls ? std::make_shared<transport>(std::in_place_type<tls_stream>, setup_.context,
                                                              setup_.tls, setup_.pool)
                                : std::make_shared<transport>(std::in_place_type<socket>, setup_.context);
  asio::async_connect(lowest(), addresses, guarded([this](const asio::error_code& ec, const auto&) {
                        if (ec) {
                          return fail(reason::broken,
                                      fmt::format("cannot connect to {}: {}", host_field(request_.url), ec.message()));
                        }
                        asio::error_code ignored;  // a peer that has gone says so when it is written to
                        lowest().set_option(asio::ip::tcp::no_delay(true), ignored);
                        connected_to_ = request_.url;
                        request_.url.tls ? handshake() : send_head();
                      }));
}

void client_connection::handshake() {
  moved_on();
  tls_stream& tls = std::get<tls_stream>(*transport_);
  if (!net::set_server_name(tls.native_handle(), request_.url.host)) {
    return fail(reason::untrusted, fmt::format("'{}' is no name for a certificate", request_.url.host));
  }
  tls.async_handshake(tls_stream::client, guarded([this, &tls](const asio::error_code& ec) {
                        if (!ec) return send_head();
                        const long verdict = ::SSL_get_verify_result(tls.native_handle());
                        if (verdict != X509_V_OK) {
                          return fail(reason::untrusted,
                                      fmt::format("the certificate of {} is not trusted: {}", request_.url.host,
                                                  ::X509_verify_cert_error_string(verdict)));
                        }
                        const bool of_tls = ec.category() == asio::error::get_ssl_category();
                        fail(of_tls ? reason::untrusted : reason::broken, "TLS: " + ec.message());
                      }));
}

void client_connection::send_head() {
  moved_on();
  const std::string head = head_of(request_);
  buffer_chain bytes;
  bytes.append_copy(setup_.pool, std::as_bytes(std::span(head)));
  sending_ = true;
  std::visit(
      [&](auto& stream) {
        net::async_write(stream, std::move(bytes),
                         guarded([this](const asio::error_code& ec, std::size_t) { on_sent(ec); }));
      },
      *transport_);
  read();
}

// The head or a block has left.
void client_connection::on_sent(const asio::error_code& ec) {
  sending_ = false;
  head_sent_ = true;
  // What the server has to say, if anything, is read first: a refusal, and then it closed.
  if (ec) return;
  if (body_ != body_state::held_back) return send_body();
  deadline_.expires_after(std::min<std::chrono::steady_clock::duration>(continue_wait, setup_.options.timeout));
}

void client_connection::send_body() {
  if (body_bytes_left_ == 0 || !head_sent_ || sending_ || body_ != body_state::wanted) return;
  moved_on();
  buffer block = exchange_->next_body_bytes(
      static_cast<std::size_t>(std::min<std::uint64_t>(body_bytes_left_, transfer_block_bytes)));
  if (block.empty()) return fail(reason::no_source, "the file cannot be read");
  body_bytes_left_ -= block.size();
  sending_ = true;
  std::visit(
      [&](auto& stream) {
        net::async_write(stream, std::move(block),
                         guarded([this](const asio::error_code& ec, std::size_t) { on_sent(ec); }));
      },
      *transport_);
}

void client_connection::read() {
  std::visit(
      [&](auto& stream) {
        net::async_read_some(stream, setup_.pool, guarded([this](const asio::error_code& ec, const buffer& received) {
                               on_received(ec, received);
                             }),
                             transfer_block_bytes);
      },
      *transport_);
}

void client_connection::on_received(const asio::error_code& ec, const buffer& received) {
  if (std::exchange(stale_, false) && ec && body_bytes_left_ == request_.body_bytes) {
    // The server closed it before it could know of this request (RFC 9112, 9.3.1); our requests may be repeated.
    drop();
    return begin();
  }
  if (ec == asio::error::eof) {
    parser_.finish();
    if (parser_.now() == response_parser::state::complete) return end({});
  }
  if (ec) {
    const bool early = ec == asio::error::eof || ec == asio::ssl::error::stream_truncated;
    return fail(reason::broken, "the connection broke: " + (early ? "the server closed it" : ec.message()));
  }
  moved_on();
  const std::uint64_t number = exchange_number_;
  const std::size_t taken = parser_.feed({received.data(), received.size()}, *this);
  if (number != exchange_number_) return;  // closed by the exchange
  switch (parser_.now()) {
    case response_parser::state::failed:
      return fail(reason::not_http, "not a response that can be used: " + parser_.failure());
    case response_parser::state::complete:
      if (!may_be_used_again(taken < received.size())) drop();
      return end({});
    default: return read();
  }
}

bool client_connection::may_be_used_again(bool has_surplus) const noexcept {
  return parser_.keep_alive() && !has_surplus && !sending_ && body_bytes_left_ == 0;
}

void client_connection::on_interim(int status) noexcept {
  if (status != 100 || body_ != body_state::held_back) return;
  body_ = body_state::wanted;
  send_body();
}

void client_connection::on_head(const response_head& head) noexcept {
  body_ = body_state::unwanted;
  if (exchange_ != nullptr) exchange_->on_head(head);
}

void client_connection::on_body(std::span<const std::byte> bytes) noexcept {
  if (exchange_ != nullptr) exchange_->on_body(bytes);
}

void client_connection::fail(reason why, const std::string& message) {
  drop();
  end({why, message});
}

void client_connection::end(const exchange_end& how) {
  deadline_.cancel();
  ++exchange_number_;
  std::exchange(exchange_, nullptr)->on_end(how);
}

void client_connection::on_deadline() {
  // 100 Continue has not come: the body is sent without.
  if (body_ == body_state::held_back && head_sent_) {
    body_ = body_state::wanted;
    return send_body();
  }
  fail(reason::broken, fmt::format("nothing moved for {} s", setup_.options.timeout.count()));
}

void client_connection::drop() noexcept {
  resolver_.cancel();
  if (transport_ == nullptr) return;
  asio::error_code ignored;
  lowest().close(ignored);
  transport_.reset();
  connected_to_.reset();
}

}  // namespace slabbuf::examples
