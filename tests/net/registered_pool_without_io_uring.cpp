// SPDX-License-Identifier: MIT
// Must not compile without io_uring: what the compiler says then is for whoever wrote it.
#include <slabbuf/net/net.hpp>

int main() { slabbuf::net::registered_pool pool(64 << 20, {.size_classes = slabbuf::size_class_table({4096, 65536})}); }
