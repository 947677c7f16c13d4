// SPDX-License-Identifier: MIT
#include "files/directory_listing.hpp"

#include "files/directory_stream.hpp"
#include "files/temporary_file.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <tuple>

namespace slabbuf::examples {

std::vector<directory_entry> read_directory(const root_directory& root, const std::string& path, int descriptor,
                                            bool& cut) {
  // The stream has a position of its own.
  const directory_stream stream = read_entries(::openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (stream == nullptr) throw std::system_error(errno, std::system_category(), "cannot read a directory");
  std::vector<directory_entry> entries;
  cut = false;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this stream
  while (const ::dirent* const each = ::readdir(stream.get())) {
    const std::string_view name = each->d_name;
    if (name == "." || name == ".." || is_temporary_name(name)) continue;
    struct ::stat status {};
    if (::fstatat(descriptor, each->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(status.st_mode)) {
      // Of what is outside, not even the size is told.
      const unique_descriptor target = root.open((path + each->d_name).c_str(), O_PATH);
      if (!target || ::fstat(target.get(), &status) != 0) continue;
    }
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) continue;
    if (entries.size() == directory_entries_max) {
      cut = true;
      break;
    }
    entries.push_back({std::string(name), S_ISDIR(status.st_mode), static_cast<std::uint64_t>(status.st_size),
                       static_cast<std::int64_t>(status.st_mtim.tv_sec)});
  }
  std::sort(entries.begin(), entries.end(), [](const directory_entry& left, const directory_entry& right) {
    return std::tie(right.is_directory, left.name) < std::tie(left.is_directory, right.name);
  });
  return entries;
}

std::string directory_json(const directory_listing& listing) {
  nlohmann::ordered_json document{{"path", listing.path},
                                  {"writable", listing.writable},
                                  {"cut", listing.cut},
                                  {"entries", nlohmann::json::array()}};
  for (const directory_entry& each : listing.entries) {
    document["entries"].push_back(nlohmann::ordered_json{
        {"name", each.name},
        {"type", each.is_directory ? "directory" : "file"},
        {"bytes", each.is_directory ? 0 : each.bytes},
        {"modified", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(each.modified_s)))}});
  }
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace slabbuf::examples
