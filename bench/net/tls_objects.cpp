// SPDX-License-Identifier: MIT
// One question: what does OpenSSL keep for a server's TLS 1.3 connection that is idle, and what does each measure of
// ours save?
//
//     tls_objects            a row a measure, each with all those above it
//     tls_objects --list     also the objects that are left, by size
//
// Counted by OpenSSL's own allocation hooks, so it says the same each time. `blocks`: what the objects take in the size
// classes of openssl_allocator.hpp; `by 64`: if blocks were aligned to 64 bytes, as those of other pools are. Keys,
// client and certificate are those of the other benches; the client offers what OpenSSL's clients do.
#include <slabbuf/net/openssl_allocator.hpp>
#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "support/tls_certificates.hpp"

namespace slabbuf::bench {
namespace {

// Sizes of what OpenSSL has allocated while `counting`, by address.
std::unordered_map<void*, std::size_t> live_objects;
bool counting = false;

void* allocate(std::size_t bytes, const char*, int) {
  void* const made = std::malloc(bytes);
  if (counting) live_objects[made] = bytes;
  return made;
}
void release(void* memory, const char*, int) {
  live_objects.erase(memory);
  std::free(memory);
}
void* reallocate(void* memory, std::size_t bytes, const char*, int) {
  const bool known = live_objects.erase(memory) != 0;
  void* const moved = std::realloc(memory, bytes);
  if (known || counting) live_objects[moved] = bytes;
  return moved;
}

// What is done in it is the server's.
struct server_scope {
  server_scope() { counting = true; }
  ~server_scope() { counting = false; }
};

struct releaser {
  void operator()(SSL* connection) const { SSL_free(connection); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(BIO* one) const { BIO_free(one); }
};
template <class T>
using owned = std::unique_ptr<T, releaser>;

owned<SSL_CTX> make_context(bool server, const char* ciphers) {
  owned<SSL_CTX> made(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
  support::set_up(made.get(), server ? &support::server_certificate() : nullptr, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(made.get(), ciphers);
  if (!server) SSL_CTX_set_min_proto_version(made.get(), TLS1_2_VERSION);
  return made;
}

// What a client says of itself: nothing, its certificate, or that of the authority as well.
enum class identity { none, certificate, chain };

void ask_for(identity wanted, SSL_CTX* server, SSL_CTX* client) {
  if (wanted == identity::none) return;
  net::prepare_for_small_connections(server);  // without the cache of sessions, which would keep what they sent
  SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  support::set_up(client, &support::client_certificate(), TLS1_3_VERSION);
  // OpenSSL adds what it finds among the authorities that the client trusts.
  if (wanted == identity::certificate) SSL_CTX_set_mode(client, SSL_MODE_NO_AUTO_CHAIN);
}

constexpr const char* sha384 = "TLS_AES_256_GCM_SHA384";
constexpr const char* sha256 = "TLS_AES_128_GCM_SHA256";
constexpr int connections = 16;

// Connections of a kind, and what each of them keeps.
class experiment {
 public:
  explicit experiment(const char* ciphers, identity of_client = identity::none)
      : server_(make_context(true, ciphers)), client_(make_context(false, ciphers)) {
    ask_for(of_client, server_.get(), client_.get());
  }

  // As asio::ssl::stream: OpenSSL and a pair of BIOs with 17 KiB each way.
  void connect_by_pair() {
    connect([](SSL* ssl, int, std::vector<owned<BIO>>& others) {
      BIO* inner = nullptr;
      BIO* outer = nullptr;
      BIO_new_bio_pair(&inner, 0, &outer, 0);
      SSL_set_bio(ssl, inner, inner);
      others.emplace_back(outer);
    });
  }
  void connect_by_socket() {
    connect([](SSL* ssl, int descriptor, std::vector<owned<BIO>>&) { SSL_set_fd(ssl, descriptor); });
  }
  void connect_by_engine() {
    for (int each = 0; each < connections; ++each) {
      const auto line = open_line();
      const owned<SSL> peer = make_peer(line[1]);
      {
        const server_scope scope;
        engines_.push_back(std::make_unique<net::detail::tls_engine>(server_.get(), pool_.core()));
      }
      for (bool done = false; !done;) {
        {
          const server_scope scope;
          done = engines_.back()->handshake(line[0], true).status == net::detail::tls_status::done;
        }
        done = SSL_do_handshake(peer.get()) == 1 && done;
      }
    }
  }
  void forget_ciphers() {
    for (const owned<SSL>& each : servers_) {
      sk_SSL_CIPHER_zero(SSL_get_client_ciphers(each.get()));
      sk_SSL_CIPHER_reserve(SSL_get_client_ciphers(each.get()), 0);
    }
  }
  void forget_handshake() {
    for (const owned<SSL>& each : servers_) net::forget_handshake(each.get());
  }

  void forget_peer_chains() {
    for (const auto& each : engines_) net::forget_peer_chain(each->ssl());
  }

  void print(const char* what) {
    const size_class_table classes = net::openssl_pool_options().size_classes;
    std::size_t bytes = 0;
    std::size_t blocks = 0;
    std::size_t blocks_by_64 = 0;
    for (const auto& [address, size] : live_objects) {
      const std::size_t index = classes.find(size);
      const std::size_t block = index == size_class_table::npos ? size : classes.size_of(index);
      bytes += size;
      blocks += block;
      blocks_by_64 += block < 64 ? block : (block + 63) / 64 * 64;
    }
    std::printf("%-58s %7zu %7zu %7zu %7zu\n", what, live_objects.size() / connections, bytes / connections,
                blocks / connections, blocks_by_64 / connections);
  }
  void list() const {
    std::map<std::size_t, int> by_size;
    for (const auto& [address, size] : live_objects) ++by_size[size];
    for (const auto& [size, count] : by_size) std::printf("    %4.1f of %5zu bytes\n", count * 1.0 / connections, size);
  }
  ~experiment() {
    servers_.clear();
    engines_.clear();
    others_.clear();
    for (const int each : descriptors_) ::close(each);
    live_objects.clear();
  }

 private:
  std::array<int, 2> open_line() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) != 0) std::abort();
    descriptors_.insert(descriptors_.end(), ends.begin(), ends.end());
    return ends;
  }
  owned<SSL> make_peer(int descriptor) {
    owned<SSL> made(SSL_new(client_.get()));
    SSL_set_fd(made.get(), descriptor);
    SSL_set_connect_state(made.get());
    return made;
  }
  template <class Attach>
  void connect(Attach attach) {
    for (int each = 0; each < connections; ++each) {
      const auto line = open_line();
      const owned<SSL> peer = make_peer(line[1]);
      {
        const server_scope scope;
        servers_.emplace_back(SSL_new(server_.get()));
        SSL_set_mode(servers_.back().get(), SSL_MODE_RELEASE_BUFFERS);
        SSL_set_accept_state(servers_.back().get());
        attach(servers_.back().get(), line[0], others_);
      }
      for (bool done = false; !done;) {
        done = SSL_do_handshake(peer.get()) == 1;
        if (!others_.empty()) carry(line[0], others_.back().get());
        {
          const server_scope scope;
          done = SSL_do_handshake(servers_.back().get()) == 1 && done;
        }
        if (!others_.empty()) carry(line[0], others_.back().get());
      }
    }
  }
  // Between the socket and the far end of the pair, both ways.
  static void carry(int descriptor, BIO* far) {
    char bytes[16384];
    for (::ssize_t count = 0; (count = ::read(descriptor, bytes, sizeof bytes)) > 0;)
      BIO_write(far, bytes, static_cast<int>(count));
    for (int count = 0; (count = BIO_read(far, bytes, sizeof bytes)) > 0;)
      if (::write(descriptor, bytes, static_cast<std::size_t>(count)) != count) std::abort();
  }

  concurrent_pool pool_;
  owned<SSL_CTX> server_;
  owned<SSL_CTX> client_;
  std::vector<owned<SSL>> servers_;
  std::vector<std::unique_ptr<net::detail::tls_engine>> engines_;
  std::vector<owned<BIO>> others_;
  std::vector<int> descriptors_;
};

void run(bool with_list) {
  experiment(sha384).connect_by_socket();  // what OpenSSL allocates once is in none of the rows
  std::printf("%-58s %7s %7s %7s %7s\n", "for each connection", "objects", "bytes", "blocks", "by 64");
  {
    experiment stock(sha384);
    stock.connect_by_pair();
    stock.print("as asio::ssl::stream: a pair of BIOs with 17 KiB each way");
  }
  {
    experiment plain(sha384);
    plain.connect_by_socket();
    plain.print("one BIO, without buffers");
    plain.forget_ciphers();
    plain.print("the client's list of ciphers forgotten");
    plain.forget_handshake();
    plain.print("the keys of the key exchange forgotten");
  }
  {
    experiment ours(sha384);
    ours.connect_by_engine();
    ours.print("one BIO for all connections of a thread: tls_stream");
  }
  {
    experiment prepared(sha256);
    prepared.connect_by_engine();
    prepared.print("SHA-256: prepare_for_small_connections()");
    if (with_list) prepared.list();
  }
  {
    experiment certified(sha256, identity::certificate);
    certified.connect_by_engine();
    certified.print("the same, of a client with a certificate");
  }
  experiment chained(sha256, identity::chain);
  chained.connect_by_engine();
  chained.print("and that of an authority behind it");
  chained.forget_peer_chains();
  chained.print("which is forgotten: forget_peer_chain()");
}

}  // namespace
}  // namespace slabbuf::bench

int main(int argument_count, char** arguments) {
  const bool with_list = argument_count == 2 && arguments[1] == std::string_view("--list");
  if (argument_count != 1 && !with_list) {
    std::fputs("tls_objects [--list]\n", stderr);
    return 2;
  }
  if (CRYPTO_set_mem_functions(&slabbuf::bench::allocate, &slabbuf::bench::reallocate, &slabbuf::bench::release) != 1)
    return 1;
  slabbuf::bench::run(with_list);
}
