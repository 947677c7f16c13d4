// SPDX-License-Identifier: MIT
// Files for programs and functions that take names: a directory of their own, which goes with the object.
// Threads: one.
// Lifetime: the files are there as long as the object.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

namespace slabbuf::support {

class temporary_files {
 public:
  temporary_files() {
    std::string made = (std::filesystem::temp_directory_path() / "slabbuf_test_XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "mkdtemp");
    directory_ = made;
  }
  temporary_files(const temporary_files&) = delete;
  temporary_files& operator=(const temporary_files&) = delete;
  ~temporary_files() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  /// Makes it or replaces it. Returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    std::ofstream file(directory_ / name, std::ios::binary);
    file << content;
    if (!file.flush()) throw std::system_error(errno, std::generic_category(), path(name));
    return path(name);
  }

  std::string read(const std::string& name) const {
    std::ifstream file(directory_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void remove(const std::string& name) const { std::filesystem::remove(directory_ / name); }

 private:
  std::filesystem::path directory_;
};

}  // namespace slabbuf::support
