// SPDX-License-Identifier: MIT
// Everything of slabbuf::pool in one include, for programs; the library itself never includes it.
// Threads: see each header.
// Lifetime: see each header.
#pragma once

#include <slabbuf/pool/buffer.hpp>
#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>
#include <slabbuf/pool/exposition.hpp>
#include <slabbuf/pool/failure.hpp>
#include <slabbuf/pool/local_pool.hpp>
#include <slabbuf/pool/memory_budget.hpp>
#include <slabbuf/pool/page_source.hpp>
#include <slabbuf/pool/pmr_resource.hpp>
#include <slabbuf/pool/pool_options.hpp>
#include <slabbuf/pool/shared_slice.hpp>
#include <slabbuf/pool/size_class.hpp>
#include <slabbuf/pool/stats.hpp>
#include <slabbuf/pool/version.hpp>
#include <slabbuf/pool/zeroing.hpp>
