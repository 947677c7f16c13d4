// SPDX-License-Identifier: MIT
#include "files/file_handler.hpp"

#include "files/file_answer.hpp"
#include "files/mime_types.hpp"
#include "files/request_path.hpp"
#include "http/blocking_threads.hpp"
#include "http/http_host.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

using namespace std::chrono_literals;

// A file that nobody asks for stays open for one or two of these.
constexpr auto sweep_period = 5s;

void refuse(http_exchange_ptr exchange, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP: return http_exchange::respond(std::move(exchange), 404, "there is no such file");
    case ENAMETOOLONG: return http_exchange::respond(std::move(exchange), 414, "a name is too long");
    // EXDEV: it leads out of the root.
    case EXDEV:
    case EACCES:
    case EPERM:
    case ENXIO: return http_exchange::respond(std::move(exchange), 403, "this is not served");
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return http_exchange::respond(std::move(exchange), 503, "the server is short of descriptors, or of memory");
    default:
      spdlog::error("a file cannot be opened: {}", std::generic_category().message(error));
      return http_exchange::respond(std::move(exchange), 500, "the file cannot be opened");
  }
}

void refuse(http_exchange_ptr exchange, path_fault fault) {
  switch (fault) {
    case path_fault::none: break;
    case path_fault::bad_target:
      return http_exchange::respond(std::move(exchange), 400, "the target has no path, or a fragment");
    case path_fault::bad_escape:
      return http_exchange::respond(std::move(exchange), 400, "the path has an escape that is none");
    case path_fault::forbidden:
      return http_exchange::respond(std::move(exchange), 400, "the path has what no path may have");
  }
}

bool accepts_gzip(const http_request& request) {
  std::string room;
  return accepts_coding(request.list("accept-encoding", room).value_or(std::string_view()), "gzip");
}

std::string_view last_name(std::string_view path) noexcept { return path.substr(path.rfind('/') + 1); }

}  // namespace

file_handler::file_handler(asio::io_context& context, const file_shared& shared)
    : shared_(shared), files_(shared.root), sweep_timer_(context) {
  sweep_later();
}

void file_handler::handle(http_exchange_ptr exchange) {
  const http_request& request = exchange->request();
  const std::string_view allowed = shared_.limits.writable ? "GET, HEAD, OPTIONS, PUT, DELETE" : "GET, HEAD, OPTIONS";
  if (request.method() == http_method::options) {
    exchange->response().add("Allow", allowed);
    exchange->response().status = 204;
    return http_exchange::respond(std::move(exchange));
  }
  const bool reads = request.method() == http_method::get || request.method() == http_method::head;
  const bool writes = request.method() == http_method::put || request.method() == http_method::remove;
  if (!reads && !(writes && shared_.limits.writable)) {
    exchange->response().add("Allow", allowed);
    return http_exchange::respond(std::move(exchange), 405, "this server does not do that");
  }
  if (const path_fault fault = decode_path(request.target(), path_); fault != path_fault::none)
    return refuse(std::move(exchange), fault);
  if (reads) return get(std::move(exchange));
  if (request.method() == http_method::put)
    return receive_upload(std::move(exchange), shared_.uploads, shared_.limits, path_);
  remove(std::move(exchange));
}

// Without waiting; null and errno, EAGAIN when it is not in memory.
auto file_handler::open_now(const std::string& path) -> opened {
  if (opened known = files_.find(path)) return known;
  opened file = open_to_read(shared_.root, path.c_str(), true);
  const int error = errno;
  if (file != nullptr && !file->is_directory()) files_.put(path, file);
  errno = error;
  return file;
}

// A .gz beside the file is what whoever accepts gzip gets.
void file_handler::get(http_exchange_ptr exchange) {
  if (is_temporary_name(last_name(path_))) return refuse(std::move(exchange), ENOENT);
  const bool wants_zipped =
      !media_type_of(path_).compressed && !path_.empty() && path_.back() != '/' && accepts_gzip(exchange->request());
  opened file = open_now(path_);
  int error = errno;
  bool cold = file == nullptr && error == EAGAIN;
  opened zipped;
  if (wants_zipped && file != nullptr && !file->is_directory()) {
    path_ += ".gz";
    zipped = open_now(path_);
    cold = zipped == nullptr && errno == EAGAIN;
    path_.resize(path_.size() - 3);
  }
  if (!cold) return on_opened(std::move(exchange), std::move(file), std::move(zipped), error);
  // A path is not in memory: another thread waits for the disk.
  struct result {
    opened file;
    opened zipped;
    int error;
  };
  blocking_threads& threads = exchange->threads();
  asio::io_context& home = exchange->context();
  threads.run(
      home,
      [&root = shared_.root, path = path_, wants_zipped] {
        result found{open_to_read(root, path.c_str(), false), nullptr, errno};
        if (wants_zipped && found.file != nullptr && !found.file->is_directory())
          found.zipped = open_to_read(root, (path + ".gz").c_str(), false);
        return found;
      },
      [this, path = path_, exchange = std::move(exchange)](const std::exception_ptr& fault, result found) mutable {
        if (fault) return http_exchange::respond(std::move(exchange), fault);
        path_ = path;
        if (found.file != nullptr && !found.file->is_directory()) files_.put(path_, found.file);
        if (found.zipped != nullptr && !found.zipped->is_directory()) files_.put(path_ + ".gz", found.zipped);
        on_opened(std::move(exchange), std::move(found.file), std::move(found.zipped), found.error);
      });
}

void file_handler::on_opened(http_exchange_ptr exchange, opened file, opened zipped, int error) {
  if (file == nullptr) return refuse(std::move(exchange), error);
  const bool slash = path_.empty() || path_.back() == '/';
  if (file->is_directory()) {
    if (slash)
      return answer_directory(std::move(exchange), shared_.root, std::move(file), path_, shared_.limits.writable);
    const std::string_view target = without_origin(exchange->request().target());
    const std::string_view query = target.substr(std::min(target.find('?'), target.size()));
    exchange->response().add("Location", fmt::format("/{}/{}", encode_path(path_), query));
    return http_exchange::respond(std::move(exchange), 301, "this is a directory");
  }
  if (slash) return refuse(std::move(exchange), ENOTDIR);
  const media_type type = media_type_of(path_);
  if (zipped != nullptr && !zipped->is_directory() && is_compressed_form(zipped->identity(), file->identity())) {
    const representation is{type.name, true, true, shared_.limits.writable,
                            compressed_entity_tag(zipped->identity(), file->identity())};
    return answer_file(std::move(exchange), shared_.digests, std::move(zipped), is);
  }
  const representation is{type.name, !type.compressed, false, shared_.limits.writable};
  answer_file(std::move(exchange), shared_.digests, std::move(file), is);
}

void file_handler::remove(http_exchange_ptr exchange) {
  blocking_threads& threads = exchange->threads();
  asio::io_context& home = exchange->context();
  upload_conditions conditions = upload_conditions::of(exchange->request());
  threads.run(
      home,
      [&store = shared_.uploads, path = path_, conditions = std::move(conditions)] {
        try {
          return store.remove(path, conditions);
        } catch (const std::system_error& fault) {
          return result_of(fault);
        }
      },
      [exchange = std::move(exchange)](const std::exception_ptr& fault, const upload_result& result) mutable {
        if (fault) return http_exchange::respond(std::move(exchange), fault);
        if (result.status >= 400) return http_exchange::respond(std::move(exchange), result.status, result.why);
        exchange->response().status = result.status;
        http_exchange::respond(std::move(exchange));
      });
}

void file_handler::sweep_later() {
  sweep_timer_.expires_after(sweep_period);
  sweep_timer_.async_wait([this](asio::error_code ec) {
    if (ec) return;
    files_.sweep();
    sweep_later();
  });
}

}  // namespace slabbuf::examples
