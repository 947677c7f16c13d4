// SPDX-License-Identifier: MIT
// The library's version: the one place that states it (CMake reads it from here).
// Constants only: any thread, any time.
// Semantic versioning: MAJOR changes break source, MINOR ones add, PATCH ones mend.
#pragma once

#define SLABBUF_VERSION_MAJOR 0
#define SLABBUF_VERSION_MINOR 1
#define SLABBUF_VERSION_PATCH 0

#define SLABBUF_VERSION_STRING "0.1.0"
