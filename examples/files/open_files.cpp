// SPDX-License-Identifier: MIT
#include "files/open_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <functional>
#include <utility>

namespace slabbuf::examples {

open_files::slot& open_files::slot_of(const std::string& path) noexcept {
  return slots_[std::hash<std::string>()(path) % files_max];
}

std::shared_ptr<const open_file> open_files::find(const std::string& path) {
  slot& its = slot_of(path);
  if (its.file == nullptr || its.path != path) return nullptr;
  struct ::stat status {};
  if (!root_.status(path.c_str(), status) || file_identity::of(status) != its.file->identity()) {
    its.file.reset();
    return nullptr;
  }
  its.used = true;
  return its.file;
}

void open_files::put(const std::string& path, std::shared_ptr<const open_file> file) {
  slot& its = slot_of(path);
  its.path = path;
  its.file = std::move(file);
  its.used = true;
}

void open_files::sweep() noexcept {
  for (slot& each : slots_) {
    if (!std::exchange(each.used, false)) each.file.reset();
  }
}

namespace {

// Opens what a path was found to mean. Where /proc is not there, the path is followed once more.
unique_descriptor reopen(const root_directory& root, const char* path, int found, bool now) {
  std::array<char, 32> name{};
  fmt::format_to_n(name.data(), name.size() - 1, "/proc/self/fd/{}", found);
  unique_descriptor opened(::open(name.data(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (opened || errno != ENOENT) return opened;
  return now ? root.open_now(path, O_RDONLY) : root.open(path, O_RDONLY);
}

}  // namespace

std::shared_ptr<const open_file> open_to_read(const root_directory& root, const char* path, bool now) {
  // Looked at before it is opened: a FIFO would wake its writer, a device may do anything.
  const unique_descriptor found = now ? root.open_now(path, O_PATH) : root.open(path, O_PATH);
  if (!found) return nullptr;
  struct ::stat status {};
  if (::fstat(found.get(), &status) != 0) return nullptr;
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    errno = S_ISLNK(status.st_mode) ? ELOOP : EACCES;
    return nullptr;
  }
  unique_descriptor opened = reopen(root, path, found.get(), now);
  if (!opened || ::fstat(opened.get(), &status) != 0) return nullptr;
  return std::make_shared<open_file>(path, std::move(opened), status);
}

}  // namespace slabbuf::examples
