// SPDX-License-Identifier: MIT
#include <slabbuf/pool/exposition.hpp>

#include <slabbuf/pool/memory_budget.hpp>

#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace slabbuf {
namespace {

// One number of a snapshot. Counters only grow; Prometheus wants their names to end on _total.
template <class Stats>
struct field {
  const char* name;  // in pool_stats or class_stats
  bool counter;
  const char* help;
  std::uint64_t Stats::*member;
};

constexpr std::array<field<pool_stats>, 23> totals{{
    {"acquired", true, "Buffers handed out, oversize included.", &pool_stats::acquired},
    {"released", true, "Buffers come back.", &pool_stats::released},
    {"hits", true, "Buffers handed out from a cache.", &pool_stats::hits},
    {"misses", true, "Buffers handed out by the depot, because a cache was empty.", &pool_stats::misses},
    {"refused", true, "Requests that failed.", &pool_stats::refused},
    {"in_use", false, "Buffers handed out and not come back.", &pool_stats::in_use},
    {"in_use_bytes", false, "Bytes of their blocks.", &pool_stats::in_use_bytes},
    {"cached", false, "Free blocks in the caches of threads.", &pool_stats::cached},
    {"cached_bytes", false, "Bytes of these blocks.", &pool_stats::cached_bytes},
    {"slabs", false, "Slabs of all classes.", &pool_stats::slabs},
    {"slab_bytes", false, "Bytes of address space they cover.", &pool_stats::slab_bytes},
    {"resident_bytes", false, "Bytes of memory that may be there for the pool.", &pool_stats::resident_bytes},
    {"retained_bytes", false, "Bytes of address space without memory behind it.", &pool_stats::retained_bytes},
    {"oversize", true, "Buffers larger than the largest class.", &pool_stats::oversize},
    {"oversize_in_use", false, "Of those, not come back.", &pool_stats::oversize_in_use},
    {"oversize_bytes", false, "Bytes of their pages.", &pool_stats::oversize_bytes},
    {"uncached", true, "Operations of threads that could not have a cache.", &pool_stats::uncached},
    {"threads", false, "Threads that have a cache.", &pool_stats::threads},
    {"samples_dropped", true, "Sampled acquisitions for which there was no record left.", &pool_stats::samples_dropped},
    {"bytes", false, "Bytes that count against the budget.", &pool_stats::bytes},
    {"bytes_high_water", false, "Most that ever did.", &pool_stats::bytes_high_water},
    {"budget_bytes_max", false, "The budget; absent when there is none.", &pool_stats::budget_bytes_max},
    {"backing_refused", true, "Mappings and slabs without the page backing asked for.", &pool_stats::backing_refused},
}};

constexpr std::array<field<class_stats>, 8> per_class{{
    {"acquired", true, "Buffers of the class handed out.", &class_stats::acquired},
    {"released", true, "Buffers of the class come back.", &class_stats::released},
    {"hits", true, "Buffers of the class handed out from a cache.", &class_stats::hits},
    {"misses", true, "Buffers of the class handed out by the depot.", &class_stats::misses},
    {"in_use", false, "Buffers of the class handed out and not come back.", &class_stats::in_use},
    {"cached", false, "Free blocks of the class in the caches of threads.", &class_stats::cached},
    {"slabs", false, "Slabs of the class.", &class_stats::slabs},
    {"high_water", false, "Most blocks of the class in use and cached at once.", &class_stats::high_water},
}};

bool is_absent(std::uint64_t pool_stats::*member, std::uint64_t value) {
  return member == &pool_stats::budget_bytes_max && value == memory_budget::unlimited;
}

// What a label may hold.
std::string escaped(std::string_view text) {
  std::string safe;
  for (const char each : text) {
    if (each == '\\' || each == '"') safe += '\\';
    each == '\n' ? safe += "\\n" : safe += each;
  }
  return safe;
}

template <class Stats>
std::string metric_name(const char* prefix, const field<Stats>& of) {
  return std::string(prefix) + of.name + (of.counter ? "_total" : "");
}

template <class Stats>
void describe(std::string& page, const std::string& name, const field<Stats>& of) {
  page += "# HELP " + name + ' ' + of.help + "\n# TYPE " + name + (of.counter ? " counter\n" : " gauge\n");
}

// Appends what fits in 200 characters: more than the longest line has, with numbers of 20 digits.
[[gnu::format(printf, 2, 3)]] void add(std::string& text, const char* format, ...) {
  char line[200];
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(line, sizeof line, format, values);
  va_end(values);
  text += line;
}

}  // namespace

std::string to_prometheus(std::span<const named_stats> pools) {
  std::string page;
  for (const field<pool_stats>& each : totals) {
    const std::string name = metric_name("slabbuf_pool_", each);
    describe(page, name, each);
    for (const named_stats& pool : pools) {
      const std::uint64_t value = pool.stats->*each.member;
      if (is_absent(each.member, value)) continue;
      page += name + "{pool=\"" + escaped(pool.name) + "\"} " + std::to_string(value) + '\n';
    }
  }
  for (const field<class_stats>& each : per_class) {
    const std::string name = metric_name("slabbuf_pool_class_", each);
    describe(page, name, each);
    for (const named_stats& pool : pools) {
      for (const class_stats& one : pool.stats->classes()) {
        if (one.acquired == 0) continue;
        page += name + "{pool=\"" + escaped(pool.name) + "\",class=\"" + std::to_string(one.size) + "\"} " +
                std::to_string(one.*each.member) + '\n';
      }
    }
  }
  return page;
}

std::string to_json(const pool_stats& stats) {
  std::string object = "{";
  for (const field<pool_stats>& each : totals) {
    const std::uint64_t value = stats.*each.member;
    object +=
        std::string("\"") + each.name + "\":" + (is_absent(each.member, value) ? "null" : std::to_string(value)) + ',';
  }
  object += "\"classes\":[";
  const char* separator = "";
  for (const class_stats& one : stats.classes()) {
    if (one.acquired == 0) continue;
    object += std::string(separator) + "{\"size\":" + std::to_string(one.size);
    for (const field<class_stats>& each : per_class) {
      object += std::string(",\"") + each.name + "\":" + std::to_string(one.*each.member);
    }
    object += '}';
    separator = ",";
  }
  return object + "]}";
}

std::string to_text(const pool_stats& stats) {
  std::string text;
  const double hit_percent =
      stats.acquired == 0 ? 0 : 100 * static_cast<double>(stats.hits) / static_cast<double>(stats.acquired);
  add(text, "in use   %" PRIu64 " buffers, %" PRIu64 " bytes\n", stats.in_use, stats.in_use_bytes);
  add(text, "cached   %" PRIu64 " blocks, %" PRIu64 " bytes, by %" PRIu64 " threads\n", stats.cached,
      stats.cached_bytes, stats.threads);
  if (stats.budget_bytes_max == memory_budget::unlimited) {
    add(text, "charged  %" PRIu64 " bytes, at most %" PRIu64 ", no budget\n", stats.bytes, stats.bytes_high_water);
  } else {
    add(text, "charged  %" PRIu64 " bytes, at most %" PRIu64 ", budget %" PRIu64 "\n", stats.bytes,
        stats.bytes_high_water, stats.budget_bytes_max);
  }
  add(text, "slabs    %" PRIu64 ", %" PRIu64 " bytes\n", stats.slabs, stats.slab_bytes);
  add(text,
      "memory   %" PRIu64 " bytes resident, %" PRIu64 " bytes of address space without, backing refused %" PRIu64
      " times\n",
      stats.resident_bytes, stats.retained_bytes, stats.backing_refused);
  add(text,
      "ever     %" PRIu64 " acquired, %.1f %% from a cache, %" PRIu64 " oversize, %" PRIu64 " refused, %" PRIu64
      " uncached\n",
      stats.acquired, hit_percent, stats.oversize, stats.refused, stats.uncached);
  add(text, "%10s %14s %14s %12s %10s %10s %10s %8s\n", "class", "acquired", "hits", "misses", "in use", "cached",
      "high water", "slabs");
  for (const class_stats& one : stats.classes()) {
    if (one.acquired == 0) continue;
    add(text,
        "%10zu %14" PRIu64 " %14" PRIu64 " %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8" PRIu64 "\n",
        one.size, one.acquired, one.hits, one.misses, one.in_use, one.cached, one.high_water, one.slabs);
  }
  return text;
}

}  // namespace slabbuf
