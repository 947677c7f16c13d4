// SPDX-License-Identifier: MIT
#include "files/upload_store.hpp"

#include "files/open_file.hpp"
#include "files/preconditions.hpp"
#include "http/http_date.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

std::optional<std::string> copy(std::optional<std::string_view> text) {
  return text ? std::optional<std::string>(*text) : std::nullopt;
}

constexpr const char* short_of_descriptors = "the server is short of descriptors, or of memory";

// A path that cannot be gone along.
upload_result refused(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return {409, "there is no such directory", {}};
    case ENAMETOOLONG: return {414, "a name is too long", {}};
    case EMFILE:
    case ENFILE:
    case ENOMEM: return {503, short_of_descriptors, {}};
    default: return {403, "this cannot be written", {}};
  }
}

}  // namespace

upload_result result_of(const std::system_error& fault) {
  switch (fault.code().value()) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return {507, "there is no room for it", {}};
    case EACCES:
    case EPERM:
    case EROFS: return {403, "this cannot be written", {}};
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: return {503, short_of_descriptors, {}};
    default: spdlog::error("a file could not be changed: {}", fault.what()); return {500, "it could not be kept", {}};
  }
}

upload_conditions upload_conditions::of(const http_request& request) {
  std::string room;
  return {copy(request.list("if-match", room)), copy(request.list("if-none-match", room)),
          copy(request.field("if-unmodified-since"))};
}

upload_result upload_store::find_place(const std::string& path, place& found) const {
  if (path.empty() || path.back() == '/') return {409, "this is a directory", {}};
  const std::size_t slash = path.rfind('/');
  found.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (is_temporary_name(found.name)) return {403, "names like this are the server's own", {}};
  found.directory = root_.open(slash == std::string::npos ? "" : path.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY);
  if (!found.directory) return refused(errno);
  struct ::stat status {};
  if (::fstatat(found.directory.get(), found.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? upload_result{} : refused(errno);
  }
  if (S_ISDIR(status.st_mode)) return {409, "this is a directory", {}};
  // A symbolic link would be replaced, and what it names would stay as it is.
  if (!S_ISREG(status.st_mode)) return {403, "this is not a file", {}};
  found.replaced = status;
  return {};
}

namespace {

// Whether there is one. Throws std::system_error where that cannot be known: "no" would let a condition hold.
bool find_status(const root_directory& root, const std::string& path, struct ::stat& status) {
  const unique_descriptor file = root.open(path.c_str(), O_PATH);
  if (file && ::fstat(file.get(), &status) == 0) return true;
  switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EXDEV:  // out of the root: nobody is told of it
    case EACCES:
    case ENAMETOOLONG: return false;  // with ".gz" behind it
    default: throw std::system_error(errno, std::system_category(), "cannot look for a file");
  }
}

// What the path may be called by those who have got it: as it is and, where there is one, in its compressed form.
struct current_tags {
  std::string plain;
  std::string compressed;

  bool match(std::string_view list, bool weakly) const noexcept {
    return tag_matches(list, plain, weakly) || tag_matches(list, compressed, weakly);
  }
};

current_tags tags_of(const root_directory& root, const std::string& path, const file_identity& plain) {
  current_tags tags{entity_tag(plain), {}};
  struct ::stat status {};
  if (find_status(root, path + ".gz", status) && S_ISREG(status.st_mode)) {
    const file_identity compressed = file_identity::of(status);
    if (is_compressed_form(compressed, plain)) tags.compressed = compressed_entity_tag(compressed, plain);
  }
  return tags;
}

}  // namespace

int upload_store::check(int directory, const std::string& name, const std::string& path,
                        const upload_conditions& conditions) const {
  if (!conditions.if_match && !conditions.if_none_match && !conditions.if_unmodified_since) return 0;
  struct ::stat status {};
  const bool exists = ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (!exists && errno != ENOENT) throw std::system_error(errno, std::system_category(), "cannot look for a file");
  const bool names_tags = conditions.if_match || conditions.if_none_match;
  const current_tags tags = exists && names_tags ? tags_of(root_, path, file_identity::of(status)) : current_tags{};
  if (conditions.if_match) {
    if (!tags.match(*conditions.if_match, false)) return 412;
  } else if (conditions.if_unmodified_since && exists) {
    const auto date = parse_http_date(*conditions.if_unmodified_since);
    if (date && status.st_mtim.tv_sec > *date) return 412;
  }
  if (conditions.if_none_match && tags.match(*conditions.if_none_match, true)) return 412;
  return 0;
}

upload_result upload_store::commit(temporary_file& file, const std::string& path, const std::string& name,
                                   const upload_conditions& conditions) {
  struct ::stat replaced {};
  if (::fstatat(file.directory(), name.c_str(), &replaced, AT_SYMLINK_NOFOLLOW) == 0) file.take_access_of(replaced);
  file.sync();  // takes the longest: before others have to wait
  const std::lock_guard lock(commit_mutex_);
  if (check(file.directory(), name, path, conditions) != 0) return {412, "the file has changed meanwhile", {}};
  struct ::stat status {};
  const bool existed = ::fstatat(file.directory(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (existed && S_ISDIR(status.st_mode)) return {409, "this is a directory", {}};
  upload_result done{existed ? 204 : 201, {}, {}};
  if (!file.commit(name)) done = {500, "the file is in place, but it is not known to be on the disk", {}};
  if (::fstat(file.descriptor(), &status) == 0) done.tag = entity_tag(file_identity::of(status));
  return done;
}

upload_result upload_store::remove(const std::string& path, const upload_conditions& conditions) {
  place found;
  if (upload_result fault = find_place(path, found); fault.status != 0) {
    return fault.status == 409 && path.find('/') != std::string::npos && !found.directory
               ? upload_result{404, "there is no such file", {}}
               : fault;
  }
  const std::lock_guard lock(commit_mutex_);
  if (check(found.directory.get(), found.name, path, conditions) != 0)
    return {412, "the file is not the one that is meant", {}};
  if (::unlinkat(found.directory.get(), found.name.c_str(), 0) != 0) {
    if (errno == ENOENT) return {404, "there is no such file", {}};
    if (errno == EACCES || errno == EPERM || errno == EROFS) return {403, "this cannot be removed", {}};
    throw std::system_error(errno, std::system_category(), "cannot remove");
  }
  if (::fsync(found.directory.get()) != 0)
    return {500, "the file is gone, but that is not known to be on the disk", {}};
  return {204, {}, {}};
}

void upload_store::keep(const upload_key& key, partial_upload partial) {
  std::optional<kept> dropped;  // removed after the lock
  const std::lock_guard lock(kept_mutex_);
  if (kept_.size() >= kept_max) {
    const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](const auto& left, const auto& right) {
      return left.second.since < right.second.since;
    });
    dropped.emplace(std::move(oldest->second));
    kept_.erase(oldest);
  }
  kept_.insert_or_assign(key, kept{std::move(partial), std::chrono::steady_clock::now()});
}

std::optional<partial_upload> upload_store::take(const upload_key& key) {
  const std::lock_guard lock(kept_mutex_);
  const auto found = kept_.find(key);
  if (found == kept_.end()) return std::nullopt;
  std::optional<partial_upload> partial(std::move(found->second.partial));
  kept_.erase(found);
  return partial;
}

std::uint64_t upload_store::kept_bytes(const upload_key& key) const {
  const std::lock_guard lock(kept_mutex_);
  const auto found = kept_.find(key);
  return found != kept_.end() ? found->second.partial.file.size() : 0;
}

void upload_store::sweep() {
  const auto limit = std::chrono::steady_clock::now() - kept_time;
  const std::lock_guard lock(kept_mutex_);
  std::erase_if(kept_, [&](const auto& each) { return each.second.since < limit; });
}

}  // namespace slabbuf::examples
