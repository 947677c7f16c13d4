// SPDX-License-Identifier: MIT
// The page of a directory: a table that can be read without scripts, sorted and filtered with one, and where files may
// be written, uploads by drag and drop. Threads: any. Lifetime: values.
#pragma once

#include "files/directory_listing.hpp"

#include <string_view>

namespace slabbuf::examples {

/// The whole document. Names are escaped, whatever bytes they have.
void directory_page(const directory_listing& listing, const text_sink& put);

/// The Content-Security-Policy it needs: its own script and style, by their digests, and requests to its own server.
std::string_view directory_page_policy();

}  // namespace slabbuf::examples
