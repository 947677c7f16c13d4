// SPDX-License-Identifier: MIT
// Everything of slabbuf::net in one include, for programs; the library itself never includes it.
// Threads: see each header.
// Lifetime: see each header.
#pragma once

#include <slabbuf/net/async_acquire.hpp>
#include <slabbuf/net/async_read_some.hpp>
#include <slabbuf/net/async_read_until.hpp>
#include <slabbuf/net/async_write.hpp>
#include <slabbuf/net/chain_view.hpp>
#include <slabbuf/net/deadline_wheel.hpp>
#include <slabbuf/net/decay_timer.hpp>
#include <slabbuf/net/dynamic_chain.hpp>
#include <slabbuf/net/epoll_socket.hpp>
#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/net/read_size.hpp>
#include <slabbuf/net/registered_pool.hpp>
#include <slabbuf/net/send_file.hpp>
#include <slabbuf/net/udp_batch.hpp>
