// SPDX-License-Identifier: MIT
#include "files/file_service.hpp"

#include "files/file_handler.hpp"
#include "files/temporary_file.hpp"

#include <spdlog/spdlog.h>

#include <memory>

namespace slabbuf::examples {

file_service::file_service(const file_options& options)
    : limits_(options.uploads),
      root_(options.root),
      buffers_({.budget_bytes_max = options.budget_bytes_max}),
      uploads_(root_),
      server_(http_options_for(options), buffers_, threads_, [this](asio::io_context& context) {
        return std::make_unique<file_handler>(context, file_shared{root_, uploads_, digests_, limits_});
      }) {}

http_options file_service::http_options_for(const file_options& options) {
  http_options http = options.http;
  if (options.certificate) {
    tls_.emplace(*options.certificate, std::initializer_list<std::string_view>{"http/1.1"});
    http.tls_context = &*tls_;
  }
  return http;
}

void file_service::start() {
  if (root_.how() == root_directory::walk::by_hand)
    spdlog::warn("the system has no openat2(2): symbolic links are not followed");
  if (limits_.writable) {
    if (const std::size_t removed = remove_stale_temporaries(root_); removed != 0)
      spdlog::info("removed {} uploads that had been cut off", removed);
  }
  server_.start();
}

}  // namespace slabbuf::examples
