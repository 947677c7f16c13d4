// SPDX-License-Identifier: MIT
// What file_server does with requests: GET, HEAD, OPTIONS, and PUT and DELETE where that is allowed.
// Threads: one each, as http_handler; the shared parts, any.
// Lifetime: what is shared must outlive it.
#pragma once

#include "files/file_digests.hpp"
#include "files/open_files.hpp"
#include "files/root_directory.hpp"
#include "files/upload.hpp"
#include "files/upload_store.hpp"
#include "http/http_exchange.hpp"

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <string>

namespace slabbuf::examples {

/// Of all threads.
struct file_shared {
  const root_directory& root;
  upload_store& uploads;
  file_digests& digests;
  const upload_limits& limits;
};

class file_handler final : public http_handler {
 public:
  file_handler(asio::io_context& context, const file_shared& shared);

  void handle(http_exchange_ptr exchange) override;

  /// Sweeps the open files, and keeps run() from returning: until drained.
  void stop() override { sweep_timer_.cancel(); }

 private:
  using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                           asio::io_context::executor_type>;
  using opened = std::shared_ptr<const open_file>;

  void get(http_exchange_ptr exchange);
  opened open_now(const std::string& path);
  void on_opened(http_exchange_ptr exchange, opened file, opened zipped, int error);
  void remove(http_exchange_ptr exchange);
  void sweep_later();

  const file_shared shared_;
  open_files files_;
  std::string path_;  // of the request that is being looked at: here, so that its memory is used again
  timer sweep_timer_;
};

}  // namespace slabbuf::examples
