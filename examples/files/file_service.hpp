// SPDX-License-Identifier: MIT
// file_server as a whole: the root, the pool, the blocking threads and the HTTP server over them.
// Threads: drain() from any; the rest from one.
// Lifetime: run() returns when every connection is closed.
#pragma once

#include "common/reloadable_tls_context.hpp"
#include "files/file_digests.hpp"
#include "files/root_directory.hpp"
#include "files/upload.hpp"
#include "files/upload_store.hpp"
#include "http/blocking_threads.hpp"
#include "http/http_server.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <cstddef>
#include <optional>
#include <string>

namespace slabbuf::examples {

struct file_options {
  std::string root;
  http_options http;
  std::optional<tls_files> certificate;  // with http.tls
  upload_limits uploads;
  std::size_t budget_bytes_max = std::size_t{256} << 20;
};

class file_service {
 public:
  /// Binds, listens, opens the root, reads the certificate. Throws std::system_error, std::runtime_error.
  explicit file_service(const file_options& options);

  const http_server& server() const noexcept { return server_; }
  concurrent_pool& buffers() noexcept { return buffers_; }
  const root_directory& root() const noexcept { return root_; }

  /// Removes what uploads have left that were cut off, and starts the threads.
  void start();
  void run() { server_.run(); }
  void drain() {
    digests_.stop();
    server_.drain();
  }

  /// Forgets uploads that nobody resumes. Waits for the disk.
  void sweep() { uploads_.sweep(); }
  void warn_unless_certificate_is_readable() const {
    if (tls_) tls_->warn_unless_readable();
  }
  void reload_certificate() noexcept {
    if (tls_) tls_->reload();
  }

 private:
  http_options http_options_for(const file_options& options);

  const upload_limits limits_;
  root_directory root_;
  concurrent_pool buffers_;
  std::optional<reloadable_tls_context> tls_;
  blocking_threads threads_;
  file_digests digests_{threads_};
  upload_store uploads_;
  http_server server_;
};

}  // namespace slabbuf::examples
