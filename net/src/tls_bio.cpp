// SPDX-License-Identifier: MIT
#include "tls_bio.hpp"

#include <atomic>
#include <cstddef>
#include <utility>

namespace slabbuf::net::detail {
namespace {

// Apart from its owner, and without a destructor: what is done when the thread's objects are gone, by static ones say,
// makes another, which lives as long as the process then.
constinit thread_local BIO* of_this_thread = nullptr;
constinit thread_local bool thread_is_ending = false;

struct bio_owner {
  ~bio_owner() {
    BIO_free(std::exchange(of_this_thread, nullptr));
    thread_is_ending = true;
  }
};

}  // namespace

// What OpenSSL calls. Without a step, a program has called what it must not.
struct tls_bio_calls {
  static tls_engine::step* step_of(BIO* of) noexcept { return static_cast<tls_engine::step*>(BIO_get_data(of)); }

  static int read(BIO* of, char* into, int count) noexcept {
    BIO_clear_retry_flags(of);
    tls_engine::step* const now = step_of(of);
    if (now == nullptr) return -1;
    const int received = now->engine.receive(*now, reinterpret_cast<std::byte*>(into), static_cast<std::size_t>(count));
    if (received < 0) BIO_set_retry_read(of);
    return received;
  }

  static int write(BIO* of, const char* from, int count) noexcept {
    BIO_clear_retry_flags(of);
    tls_engine::step* const now = step_of(of);
    if (now == nullptr) return -1;
    const int taken =
        now->engine.transmit(*now, reinterpret_cast<const std::byte*>(from), static_cast<std::size_t>(count));
    if (taken < 0) BIO_set_retry_write(of);
    return taken;
  }

  static long control(BIO*, int command, long, void*) noexcept { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static int create(BIO* made) noexcept {
    BIO_set_init(made, 1);
    return 1;
  }

  // Null where there is no memory for it, this time. Never freed: OpenSSL cleans up at exit in an order of its own.
  static const BIO_METHOD* method() noexcept {
    static std::atomic<BIO_METHOD*> kept{nullptr};
    if (BIO_METHOD* const made = kept.load(std::memory_order_acquire)) return made;
    BIO_METHOD* const fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "slabbuf");
    if (fresh == nullptr) return nullptr;
    BIO_meth_set_read(fresh, &read);
    BIO_meth_set_write(fresh, &write);
    BIO_meth_set_ctrl(fresh, &control);
    BIO_meth_set_create(fresh, &create);
    BIO_METHOD* made = nullptr;
    if (kept.compare_exchange_strong(made, fresh, std::memory_order_acq_rel)) return fresh;
    BIO_meth_free(fresh);  // another thread was faster
    return made;
  }
};

BIO* tls_engine::bio::of_thread() noexcept {
  if (of_this_thread == nullptr) {
    const BIO_METHOD* const method = tls_bio_calls::method();
    of_this_thread = method != nullptr ? BIO_new(method) : nullptr;
    if (of_this_thread != nullptr && !thread_is_ending) static thread_local const bio_owner owner;
  }
  return of_this_thread;
}

tls_engine::step::step(tls_engine& of, int opened) noexcept
    : engine(of),
      descriptor(opened),
      may_receive(of.may_receive_),
      bio_(bio::of_thread()),
      outer_(bio_ != nullptr ? BIO_get_data(bio_) : nullptr),
      outer_flags_(outer_ != nullptr ? BIO_get_retry_flags(bio_) : 0) {
  if (bio_ == nullptr) {
    // OpenSSL says that it has none. What it was lent on another thread may be in use there.
    SSL_set_bio(engine.ssl_, nullptr, nullptr);
    return;
  }
  BIO_set_data(bio_, this);
  if (SSL_get_rbio(engine.ssl_) == bio_) return;
  BIO_up_ref(bio_);  // and a second time by OpenSSL
  SSL_set_bio(engine.ssl_, bio_, bio_);
}

tls_engine::step::~step() {
  if (bio_ != nullptr) {
    BIO_set_data(bio_, outer_);
    if (outer_ != nullptr) {
      BIO_clear_retry_flags(bio_);
      BIO_set_flags(bio_, outer_flags_);
    }
  }
  // In a handshake OpenSSL puts another BIO before ours, and writes to ours who that is: not to be done when the
  // connection goes on, on another thread.
  if (SSL_in_init(engine.ssl_) != 0) SSL_set_bio(engine.ssl_, nullptr, nullptr);
}

}  // namespace slabbuf::net::detail
