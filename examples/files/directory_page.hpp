// SPDX-License-Identifier: MIT
// A directory as a page for people.
// Threads: any.
#pragma once

#include "files/directory_listing.hpp"

#include <string>
#include <string_view>

namespace slabbuf::examples {

/// The whole document.
std::string directory_page(const directory_listing& listing);

/// What its Content-Security-Policy must be.
std::string_view directory_page_policy() noexcept;

}  // namespace slabbuf::examples
