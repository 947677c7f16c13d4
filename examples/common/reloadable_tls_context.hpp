// SPDX-License-Identifier: MIT
// A server's certificate and private key, from files that may be read again while it runs.
// Threads: any. reload() reads files: not on a thread that serves connections.
// Lifetime: must outlive the handshakes of its connections. A connection has a reference of its own to the context it
// was made of, so that a reload changes nothing for those that are there.
#pragma once

#include <slabbuf/net/tls_context.hpp>

#include <openssl/ssl.h>

#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// Both in PEM; the certificate is followed by those of the authorities between it and the root, if there are any.
struct tls_files {
  std::string certificate;
  std::string key;
};

class reloadable_tls_context {
 public:
  /// Reads the files; `protocols` are those above TLS, in order of preference (ALPN). Throws std::runtime_error, whose
  /// text names the file and what is wrong with it.
  explicit reloadable_tls_context(tls_files files, std::initializer_list<std::string_view> protocols = {});
  reloadable_tls_context(const reloadable_tls_context&) = delete;
  reloadable_tls_context& operator=(const reloadable_tls_context&) = delete;

  /// What the next connection is to be made of: `tls_stream(socket, current().get(), pool)`.
  std::shared_ptr<SSL_CTX> current() const;

  /// Reads the files again. When they cannot be used, what was there remains. Says in the log which of both, and
  /// returns whether the new one is in use. Session tickets of before are refused: their clients shake hands in full.
  bool reload() noexcept;

  /// To be called when the process may do less than when it was started: says in the log which file reload() could not
  /// read, and what to do about it. A directory that was opened before would not help, as each look into it asks anew
  /// whether the user may.
  void warn_unless_readable() const;

 private:
  std::shared_ptr<SSL_CTX> load() const;

  const tls_files files_;
  std::optional<net::alpn_protocols> protocols_;  // which the contexts refer to
  mutable std::mutex mutex_;                      // guards current_: the pointer, not the context
  std::shared_ptr<SSL_CTX> current_;
};

}  // namespace slabbuf::examples
