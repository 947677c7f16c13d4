// SPDX-License-Identifier: MIT
// What is in a directory, to be shown.
// Threads: any; reading waits for the disk.
#pragma once

#include "files/root_directory.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

namespace slabbuf::examples {

struct directory_entry {
  std::pmr::string name;
  bool is_directory = false;
  std::uint64_t bytes = 0;
  std::int64_t modified_s = 0;
};

struct directory_listing {
  std::string path;  // decoded; begins and ends with a slash
  bool writable = false;
  std::pmr::vector<directory_entry> entries;  // directories first, each by name
  bool cut = false;                           // there are more than entries_max
};

/// Most entries that are shown.
inline constexpr std::size_t directory_entries_max = 10'000;

/// Files and directories of an open directory, also those beneath the root that symbolic links name; nothing else, and
/// no temporaries of uploads. `path` is where it is, beneath the root; `memory` holds all of them. Throws
/// std::system_error, std::bad_alloc.
std::pmr::vector<directory_entry> read_directory(const root_directory& root, const std::string& path, int descriptor,
                                                 std::pmr::memory_resource& memory, bool& cut);

/// Takes a text piece by piece: no document is ever there as a whole but where its reader puts it.
using text_sink = std::function<void(std::string_view)>;

/// {"path": "/a/", "writable": false, "cut": false, "entries": [{"name": "b", "type": "file", "bytes": 3,
/// "modified": "2024-01-31T12:00:00Z"}]}. What is not UTF-8 in a name is replaced.
void directory_json(const directory_listing& listing, const text_sink& put);

}  // namespace slabbuf::examples
