// SPDX-License-Identifier: MIT
// The answers to GET and HEAD: a file or parts of it, a directory.
// Threads: that of the connection.
#pragma once

#include "files/file_digests.hpp"
#include "files/open_file.hpp"
#include "files/root_directory.hpp"
#include "http/http_exchange.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace slabbuf::examples {

/// How a file is called in its answer.
struct representation {
  std::string_view media_type;  // of static storage
  bool varies = false;          // there may be another one, for whoever accepts gzip
  bool gzipped = false;         // this is that one
  bool sandboxed = false;       // whoever may write here wrote it: its scripts are not the server's
  std::string tag = {};         // of that one; else the file's own is
};

/// All of it, what Range asks for, or why not.
void answer_file(http_exchange_ptr exchange, file_digests& digests, std::shared_ptr<const open_file> file,
                 const representation& is);

/// As JSON when that is what the client accepts, else as a page.
void answer_directory(http_exchange_ptr exchange, const root_directory& root,
                      std::shared_ptr<const open_file> directory, std::string path, bool writable);

}  // namespace slabbuf::examples
