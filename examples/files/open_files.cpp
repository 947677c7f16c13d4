// SPDX-License-Identifier: MIT
#include "files/open_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>

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

std::shared_ptr<const open_file> open_to_read(const root_directory& root, const char* path, bool now) {
  unique_descriptor opened = now ? root.open_now(path, O_RDONLY) : root.open(path, O_RDONLY);
  if (!opened) return nullptr;
  struct ::stat status {};
  if (::fstat(opened.get(), &status) != 0) return nullptr;
  // Devices, FIFOs, sockets: O_NONBLOCK kept the open from waiting, and nothing was read.
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    errno = EACCES;
    return nullptr;
  }
  return std::make_shared<open_file>(std::move(opened), status);
}

}  // namespace slabbuf::examples
