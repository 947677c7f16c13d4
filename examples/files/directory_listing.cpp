// SPDX-License-Identifier: MIT
#include "files/directory_listing.hpp"

#include "files/directory_stream.hpp"
#include "files/temporary_file.hpp"
#include "http/http_date.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <tuple>
#include <utility>

namespace slabbuf::examples {

std::pmr::vector<directory_entry> read_directory(const root_directory& root, const std::string& path, int descriptor,
                                                 std::pmr::memory_resource& memory, bool& cut) {
  // The stream has a position of its own.
  const directory_stream stream = read_entries(::openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (stream == nullptr) throw std::system_error(errno, std::system_category(), "cannot read a directory");
  std::pmr::vector<directory_entry> entries(&memory);
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
    entries.push_back({std::pmr::string(name, &memory), S_ISDIR(status.st_mode),
                       static_cast<std::uint64_t>(status.st_size), static_cast<std::int64_t>(status.st_mtim.tv_sec)});
  }
  std::sort(entries.begin(), entries.end(), [](const directory_entry& left, const directory_entry& right) {
    return std::tie(right.is_directory, left.name) < std::tie(left.is_directory, right.name);
  });
  return entries;
}

void directory_json(const directory_listing& listing, const text_sink& put) {
  const auto text_of = [](const nlohmann::ordered_json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  const std::string head = text_of({{"path", listing.path}, {"writable", listing.writable}, {"cut", listing.cut}});
  put(std::string_view(head).substr(0, head.size() - 1));
  put(",\"entries\":[");
  const char* comma = "";
  for (const directory_entry& each : listing.entries) {
    put(std::exchange(comma, ","));
    put(text_of({{"name", std::string_view(each.name)},
                 {"type", each.is_directory ? "directory" : "file"},
                 {"bytes", each.is_directory ? 0 : each.bytes},
                 {"modified", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc_of(each.modified_s))}}));
  }
  put("]}\n");
}

}  // namespace slabbuf::examples
