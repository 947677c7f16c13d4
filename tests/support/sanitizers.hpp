// SPDX-License-Identifier: MIT
// Which sanitizer a program is built with: GCC and clang say it differently.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLABBUF_ADDRESS_SANITIZER 1
#endif
#if __has_feature(thread_sanitizer)
#define SLABBUF_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SLABBUF_ADDRESS_SANITIZER 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SLABBUF_THREAD_SANITIZER 1
#endif
#if defined(SLABBUF_ADDRESS_SANITIZER) || defined(SLABBUF_THREAD_SANITIZER)
#define SLABBUF_SANITIZED 1
#endif
