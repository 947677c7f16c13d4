// SPDX-License-Identifier: MIT
#include "files/file_client_partial.hpp"

#include "files/file_access.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <fstream>
#include <string_view>
#include <utility>

namespace slabbuf::examples {
namespace {

using nlohmann::json;

// A note of more is not one of ours.
constexpr std::uintmax_t note_bytes_max = 64 << 10;

// As many as the system follows (path_resolution(7)).
constexpr int links_max = 40;

[[noreturn]] void throw_errno(const std::string& what) { throw std::system_error(errno, std::system_category(), what); }

std::filesystem::path beside(const std::filesystem::path& target, const char* suffix) {
  return target.parent_path() / fmt::format(".{}{}", target.filename().string(), suffix);
}

// What is to be written. A link is followed, as whoever writes through it does; what is no file, a device say, would
// not be written to but replaced.
std::filesystem::path followed(const std::filesystem::path& target) {
  std::error_code ec;
  std::filesystem::path path = target;
  for (int links = 0; std::filesystem::is_symlink(path, ec); ++links) {
    if (links == links_max)
      throw std::system_error(std::make_error_code(std::errc::too_many_symbolic_link_levels), target.string());
    path = path.parent_path() / std::filesystem::read_symlink(path);  // which may be absolute: then it is all
  }
  const std::filesystem::file_status status = std::filesystem::status(path, ec);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), target.string() + " is no file");
  return path;
}

// A rename is on the disk when its directory is.
void sync_directory_of(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : ".";
  const int directory = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;  // it may be written to and not read
  ::fsync(directory);
  ::close(directory);
}

// Into a file that was not there before: whoever put something in its place meant another one to be written.
void write_anew(const std::filesystem::path& path, std::string_view text) {
  std::error_code ignored;  // of a run that was cut off; what cannot be removed, cannot be made
  std::filesystem::remove(path, ignored);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file < 0) throw_errno("cannot write " + path.string());
  while (!text.empty()) {
    const ::ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int error = errno;
      ::close(file);
      throw std::system_error(error, std::system_category(), "cannot write " + path.string());
    }
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  ::close(file);
}

// Whether the path still names the open file.
bool is_named(const std::filesystem::path& path, int descriptor) {
  struct ::stat there {};
  struct ::stat opened {};
  return ::lstat(path.c_str(), &there) == 0 && ::fstat(descriptor, &opened) == 0 && there.st_dev == opened.st_dev &&
         there.st_ino == opened.st_ino;
}

// Ranges that ascend, and a file that has what they leave out.
bool fits(const partial_note& note, int descriptor) {
  std::uint64_t before = 0;
  for (const byte_range& each : note.missing) {
    if (each.first < before || each.end < each.first || each.end > note.size) return false;
    before = each.end;
  }
  const bool lacks_end = before == note.size && !note.missing.empty();
  struct ::stat status {};
  return ::fstat(descriptor, &status) == 0 &&
         static_cast<std::uint64_t>(status.st_size) >= (lacks_end ? note.missing.back().first : note.size);
}

}  // namespace

partial_file::partial_file(const std::filesystem::path& target)
    : target_(followed(target)), path_(beside(target_, ".part")), note_path_(beside(target_, ".part.json")) {
  // Nobody reads of it who may not read what it replaces: until it does, nobody else reads it at all, and whoever began
  // it can go on.
  struct ::stat replaced {};
  const bool replaces = ::stat(target_.c_str(), &replaced) == 0;
  for (;;) {
    descriptor_ =
        ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, replaces ? private_mode : public_mode);
    if (descriptor_ < 0) throw_errno("cannot write " + path_.string());
    const bool locked = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
    if (locked && !is_named(path_, descriptor_)) {  // another process has just made it the target
      ::close(descriptor_);
      continue;
    }
    if (locked && (!replaces || ::fchmod(descriptor_, private_mode) == 0)) return;
    const int error = errno;
    ::close(descriptor_);
    throw std::system_error(error, std::system_category(),
                            (locked ? "cannot write " : "another process downloads to ") + path_.string());
  }
}

partial_file::~partial_file() { ::close(descriptor_); }

std::optional<partial_note> partial_file::note(const std::string& url) const try {
  if (std::filesystem::file_size(note_path_) > note_bytes_max) return std::nullopt;
  std::ifstream file(note_path_);
  const json object = json::parse(file);
  partial_note found{object.at("url"), object.at("etag"), object.at("size"), {}};
  for (const json& each : object.at("missing")) found.missing.push_back({each.at(0), each.at(1)});
  if (found.url != url || !fits(found, descriptor_)) return std::nullopt;
  return found;
} catch (const std::exception&) {
  return std::nullopt;  // none there, or somebody else's
}

void partial_file::save(const partial_note& note) const {
  json missing = json::array();
  for (const byte_range& each : note.missing) missing.push_back({each.first, each.end});
  const json object{{"url", note.url}, {"etag", note.etag}, {"size", note.size}, {"missing", std::move(missing)}};
  const std::filesystem::path fresh = note_path_.string() + ".new";
  // What a server said may be no UTF-8.
  write_anew(fresh, object.dump(1, ' ', false, json::error_handler_t::replace) + '\n');
  std::filesystem::rename(fresh, note_path_);
}

std::error_code partial_file::write(std::span<const std::byte> bytes, std::uint64_t offset) noexcept {
  while (!bytes.empty()) {
    const ::ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<::off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      return {errno, std::system_category()};
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

std::size_t partial_file::read(std::span<std::byte> into, std::uint64_t offset) const {
  for (;;) {
    const ::ssize_t count = ::pread(descriptor_, into.data(), into.size(), static_cast<::off_t>(offset));
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) throw_errno("cannot read " + path_.string());
  }
}

void partial_file::clear() {
  std::error_code ignored;  // there may be none
  std::filesystem::remove(note_path_, ignored);
  if (::ftruncate(descriptor_, 0) != 0) throw_errno("cannot write " + path_.string());
}

void partial_file::discard() noexcept {
  std::error_code ignored;
  std::filesystem::remove(note_path_, ignored);
  std::filesystem::remove(path_, ignored);
}

void partial_file::commit() {
  struct ::stat replaced {};
  if (::stat(target_.c_str(), &replaced) == 0 && !take_access_of(descriptor_, replaced))
    throw_errno("cannot write " + path_.string());
  // Whatever fails to reach the disk is known before the old file is gone.
  if (::fsync(descriptor_) != 0) throw_errno("cannot write " + path_.string());
  std::filesystem::rename(path_, target_);
  std::error_code ignored;
  std::filesystem::remove(note_path_, ignored);
  sync_directory_of(target_);
}

}  // namespace slabbuf::examples
