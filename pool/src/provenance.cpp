// SPDX-License-Identifier: MIT
#include <slabbuf/pool/provenance.hpp>

#include <execinfo.h>

#include <cstdlib>
#include <memory>

namespace slabbuf {

std::string to_text(std::span<const provenance> holders, std::chrono::steady_clock::time_point now) {
  std::string text;
  for (const provenance& each : holders) {
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - each.since);
    text += std::to_string(each.size) + " bytes in a block of " + std::to_string(each.class_size) + ", held for " +
            std::to_string(age.count()) + " ms by thread " + std::to_string(each.thread) + '\n';
    const std::unique_ptr<char*, decltype(&std::free)> symbols(
        ::backtrace_symbols(each.frames.data(), static_cast<int>(each.frame_count)), &std::free);
    for (std::size_t index = 0; symbols != nullptr && index < each.frame_count; ++index) {
      text += std::string("    ") + symbols.get()[index] + '\n';
    }
  }
  return text;
}

}  // namespace slabbuf
