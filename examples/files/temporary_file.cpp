// SPDX-License-Identifier: MIT
#include "files/temporary_file.hpp"

#include "files/directory_stream.hpp"
#include "files/file_access.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

namespace slabbuf::examples {
namespace {

constexpr std::string_view prefix = ".slabbuf-upload-";
constexpr std::size_t digits = 16;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::system_category(), what); }

std::string random_name() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != static_cast<::ssize_t>(sizeof number)) fail("getrandom");
  return fmt::format("{}{:016x}", prefix, number);
}

bool sync_descriptor(int descriptor) noexcept {
  while (::fsync(descriptor) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

// Whoever writes a temporary has it locked.
bool remove_if_stale(int directory, const char* name) noexcept {
  const unique_descriptor file(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return false;
  return ::unlinkat(directory, name, 0) == 0;
}

}  // namespace

bool is_temporary_name(std::string_view name) noexcept {
  if (name.size() != prefix.size() + digits || name.substr(0, prefix.size()) != prefix) return false;
  return name.substr(prefix.size()).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

temporary_file::temporary_file(unique_descriptor directory, ::mode_t mode)
    : directory_(std::move(directory)), name_(random_name()) {
  unique_descriptor file(
      ::openat(directory_.get(), name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file) fail("cannot create a file");
  file_ = std::move(file);
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    remove();
    throw std::system_error(error, std::system_category(), "cannot lock a file");
  }
}

temporary_file& temporary_file::operator=(temporary_file&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(file_, other.file_);
  std::swap(name_, other.name_);
  std::swap(size_, other.size_);
  return *this;
}

void temporary_file::take_access_of(const struct ::stat& replaced) {
  if (!examples::take_access_of(file_.get(), replaced)) fail("cannot set a file's mode");
}

void temporary_file::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ::ssize_t put = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<::off_t>(size_));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot write");
    size_ += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void temporary_file::sync() {
  if (!sync_descriptor(file_.get())) fail("fsync");
}

bool temporary_file::commit(const std::string& name) {
  if (::renameat(directory_.get(), name_.c_str(), directory_.get(), name.c_str()) != 0) fail("cannot rename");
  name_.clear();
  return sync_descriptor(directory_.get());
}

void temporary_file::remove() noexcept {
  if (file_ && !name_.empty()) ::unlinkat(directory_.get(), name_.c_str(), 0);
  file_.reset();
}

std::size_t remove_stale_temporaries(const root_directory& root) {
  std::size_t removed = 0;
  // Paths, not descriptors, so that a deep tree does not need many of these.
  std::vector<std::string> pending{""};
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    unique_descriptor opened = root.open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const directory_stream stream = read_entries(opened ? ::fcntl(opened.get(), F_DUPFD_CLOEXEC, 0) : -1);
    if (stream == nullptr) continue;  // not ours to read, or gone
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this stream
    while (const ::dirent* const each = ::readdir(stream.get())) {
      const std::string_view name = each->d_name;
      if (name == "." || name == "..") continue;
      if (is_temporary_name(name)) {
        if (remove_if_stale(opened.get(), each->d_name)) ++removed;
        continue;
      }
      struct ::stat status {};
      const bool directory =
          each->d_type == DT_DIR ||
          (each->d_type == DT_UNKNOWN && ::fstatat(opened.get(), each->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(status.st_mode));
      if (directory) pending.push_back(path.empty() ? std::string(name) : path + "/" + std::string(name));
    }
  }
  return removed;
}

}  // namespace slabbuf::examples
