// SPDX-License-Identifier: MIT
// The system's memory; and for every kind of backing that the kernel says it is there, not the library.
#include <slabbuf/pool/page_source.hpp>

#include "support/both_pools.hpp"
#include "support/zeros.hpp"

#include <slabbuf/pool/detail/page_map.hpp>
#include <slabbuf/pool/detail/slab.hpp>

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::is_zero;

std::span<std::byte> map(std::size_t size, std::size_t alignment) {
  return {static_cast<std::byte*>(page_source::system().map(size, alignment)), size};
}

void unmap(std::span<std::byte> memory) { page_source::system().unmap(memory.data(), memory.size()); }

TEST(page_source_test, APageIsAPowerOfTwo) {
  EXPECT_TRUE(std::has_single_bit(page_size()));
  EXPECT_GE(page_size(), 4096U);
}

TEST(page_source_test, MemoryIsAlignedZeroAndWritable) {
  for (std::size_t alignment = page_size(); alignment <= std::size_t{16} << 20; alignment *= 2) {
    for (const std::size_t page_count :
         std::initializer_list<std::size_t>{std::size_t{1}, std::size_t{3}, std::size_t{64}}) {
      const std::span memory = map(page_count * page_size(), alignment);
      ASSERT_NE(memory.data(), nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % alignment, 0U);
      EXPECT_TRUE(is_zero(memory));
      std::fill(memory.begin(), memory.end(), std::byte{0xff});
      unmap(memory);
    }
  }
}

TEST(page_source_test, MappingsDoNotOverlap) {
  constexpr std::size_t alignment = std::size_t{1} << 20;
  std::span<std::byte> all[16];
  for (std::span<std::byte>& each : all) {
    each = map(page_size(), alignment);
    ASSERT_TRUE(is_zero(each));
    std::fill(each.begin(), each.end(), std::byte{1});
  }
  for (const std::span<std::byte> each : all) unmap(each);
}

TEST(page_source_test, PurgedMemoryReadsAsZeroAndStaysUsable) {
  const std::span memory = map(4 * page_size(), page_size());
  ASSERT_NE(memory.data(), nullptr);
  std::fill(memory.begin(), memory.end(), std::byte{0xab});
  const std::span middle = memory.subspan(page_size(), 2 * page_size());
  ASSERT_TRUE(page_source::system().purge(middle.data(), middle.size()));
  EXPECT_TRUE(is_zero(middle));
  EXPECT_EQ(memory.front(), std::byte{0xab});
  EXPECT_EQ(memory.back(), std::byte{0xab});
  std::fill(middle.begin(), middle.end(), std::byte{1});
  EXPECT_EQ(middle.back(), std::byte{1});
  unmap(memory);
}

TEST(page_source_test, RefusesSizesThatCannotBe) {
  const std::size_t pages_max = SIZE_MAX / page_size() * page_size();
  for (const std::size_t size :
       std::initializer_list<std::size_t>{std::size_t{0}, pages_max, pages_max / 2 / page_size() * page_size()}) {
    for (const std::size_t alignment : std::initializer_list<std::size_t>{page_size(), std::size_t{1} << 20}) {
      EXPECT_EQ(map(size, alignment).data(), nullptr) << size;
    }
  }
}

TEST(page_source_test, TheSystemSourceIsOne) { EXPECT_EQ(&page_source::system(), &page_source::system()); }

// What the kernel says about the mapping that contains an address.
struct mapping_facts {
  std::size_t resident_bytes = 0;
  std::size_t page_bytes = 0;
  std::string flags;  // " rd wr mr mw me ac ", each between spaces

  bool has(const std::string& flag) const { return flags.find(" " + flag + " ") != std::string::npos; }
};

mapping_facts facts_of(const void* address) {
  mapping_facts facts;
  std::ifstream smaps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(smaps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (!first.ends_with(':')) {
      // 7f0000000000-7f0000200000 rw-p ...
      char* after = nullptr;
      const std::uintptr_t begin = std::strtoull(first.c_str(), &after, 16);
      const std::uintptr_t end = std::strtoull(after + 1, nullptr, 16);
      const auto wanted = reinterpret_cast<std::uintptr_t>(address);
      found = begin <= wanted && wanted < end;
    } else if (found && first == "Rss:") {
      words >> facts.resident_bytes;
      facts.resident_bytes *= 1024;
    } else if (found && first == "KernelPageSize:") {
      words >> facts.page_bytes;
      facts.page_bytes *= 1024;
    } else if (found && first == "VmFlags:") {
      facts.flags = line.substr(line.find(':') + 1) + " ";
    }
  }
  return facts;
}

class page_backing_test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (facts_of(this).flags.empty()) GTEST_SKIP() << "/proc/self/smaps does not say what mappings have";
  }
};

// Pages of a range that are resident.
std::size_t resident_pages(const std::byte* base, std::size_t size) {
  std::vector<unsigned char> of_page(size / page_size());
  EXPECT_EQ(::mincore(const_cast<std::byte*>(base), size, of_page.data()), 0);
  return static_cast<std::size_t>(std::count_if(of_page.begin(), of_page.end(), [](auto each) { return each & 1; }));
}

// One mapping of a source with the backing under test.
class backed_mapping {
 public:
  backed_mapping(const page_backing& backing, std::size_t size, std::size_t alignment = page_size())
      : source_(backing), memory_(static_cast<std::byte*>(source_.map(size, alignment)), size) {
    EXPECT_NE(memory_.data(), nullptr);
  }
  backed_mapping(const backed_mapping&) = delete;
  backed_mapping& operator=(const backed_mapping&) = delete;
  ~backed_mapping() { source_.unmap(memory_.data(), memory_.size()); }

  system_page_source& source() { return source_; }
  std::span<std::byte> memory() { return memory_; }
  bool is_aligned_to(std::size_t bytes) const { return reinterpret_cast<std::uintptr_t>(memory_.data()) % bytes == 0; }

 private:
  system_page_source source_;
  std::span<std::byte> memory_;
};

bool kernel_has(const char* path) { return std::ifstream(path).good(); }

std::uint64_t reserved_pages_free() {
  std::uint64_t count = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> count;
  return count;
}

TEST_F(page_backing_test, TheDefaultTouchesNothingAndAsksForNothing) {
  backed_mapping mapping({}, huge_page_bytes);
  EXPECT_FALSE(mapping.source().populate(mapping.memory().data(), huge_page_bytes));
  EXPECT_EQ(resident_pages(mapping.memory().data(), huge_page_bytes), 0U);
  const mapping_facts facts = facts_of(mapping.memory().data());
  for (const char* const flag : {"hg", "nh", "ht"}) EXPECT_FALSE(facts.has(flag)) << facts.flags;
  EXPECT_EQ(mapping.source().refused(), 0U);
}

TEST_F(page_backing_test, TransparentHugePagesAreAskedFor) {
  if (!kernel_has("/sys/kernel/mm/transparent_hugepage/enabled")) GTEST_SKIP() << "a kernel without such pages";
  for (const std::size_t size : {huge_page_bytes, 3 * huge_page_bytes, huge_page_bytes + page_size()}) {
    backed_mapping mapping({.huge = huge_pages::transparent}, size);
    EXPECT_TRUE(mapping.is_aligned_to(huge_page_bytes));
    const mapping_facts facts = facts_of(mapping.memory().data());
    EXPECT_TRUE(facts.has("hg")) << facts.flags;
    EXPECT_TRUE(is_zero(mapping.memory()));
  }
}

// The advice is taken where the machine has them switched off, too, and nothing comes of it.
TEST(page_backing_death_test, TransparentHugePagesThatAreOffAreCounted) {
  const auto map_without_them = [] {
    if (::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) std::_Exit(2);
    system_page_source source({.huge = huge_pages::transparent});
    const bool mapped = source.map(huge_page_bytes, page_size()) != nullptr;
    std::_Exit(mapped && source.refused() == 1 ? 0 : 1);
  };
  EXPECT_EXIT(map_without_them(), ::testing::ExitedWithCode(0), "");
}

TEST_F(page_backing_test, HugePagesAreRuledOut) {
  backed_mapping mapping({.huge = huge_pages::never}, huge_page_bytes);
  EXPECT_EQ(mapping.source().refused(), 0U);
  if (!kernel_has("/sys/kernel/mm/transparent_hugepage/enabled")) GTEST_SKIP() << "a kernel without such pages";
  const mapping_facts facts = facts_of(mapping.memory().data());
  EXPECT_TRUE(facts.has("nh")) << facts.flags;
}

TEST_F(page_backing_test, ReservedHugePagesAreUsed) {
  if (reserved_pages_free() < 2) GTEST_SKIP() << "no huge pages are reserved (vm.nr_hugepages)";
  backed_mapping mapping({.huge = huge_pages::reserved, .prefault = true}, 2 * huge_page_bytes);
  EXPECT_EQ(mapping.source().refused(), 0U);
  EXPECT_TRUE(mapping.is_aligned_to(huge_page_bytes));
  const mapping_facts facts = facts_of(mapping.memory().data());
  EXPECT_TRUE(facts.has("ht")) << facts.flags;
  EXPECT_EQ(facts.page_bytes, huge_page_bytes);
  EXPECT_TRUE(mapping.source().populate(mapping.memory().data(), huge_page_bytes));
  EXPECT_TRUE(is_zero(mapping.memory()));
}

TEST_F(page_backing_test, ReservedHugePagesAreNotPurged) {
  if (reserved_pages_free() < 2) GTEST_SKIP() << "no huge pages are reserved (vm.nr_hugepages)";
  backed_mapping mapping({.huge = huge_pages::reserved}, 2 * huge_page_bytes);
  std::fill(mapping.memory().begin(), mapping.memory().end(), std::byte{1});
  for (const std::size_t size : {page_size(), huge_page_bytes - page_size(), huge_page_bytes}) {
    EXPECT_FALSE(mapping.source().purge(mapping.memory().data(), size)) << size;
    EXPECT_FALSE(mapping.source().purge(mapping.memory().data() + page_size(), size)) << size;
  }
  EXPECT_EQ(std::count(mapping.memory().begin(), mapping.memory().end(), std::byte{1}), 2 * huge_page_bytes);
}

TEST_F(page_backing_test, APoolOfReservedHugePages) {
  if (reserved_pages_free() < 16) GTEST_SKIP() << "too few huge pages are reserved (vm.nr_hugepages)";
  pool_options options;
  options.backing.huge = huge_pages::reserved;
  concurrent_pool pool(options);
  std::vector<buffer> held;
  for (int count = 0; count < 100; ++count) held.push_back(pool.acquire(60000));
  for (buffer& each : held) each.data()[59999] = std::byte{1};
  EXPECT_EQ(pool.stats().backing_refused, 0U);
  held.resize(50);
  EXPECT_EQ(pool.trim(), 0U) << "nothing can go while a block of the region is in use";
  EXPECT_TRUE(pool.check_invariants());
  for (int count = 0; count < 50; ++count) {
    held.push_back(pool.acquire(60000));
    EXPECT_TRUE(is_zero({std::as_const(held.back()).data(), held.back().size()}));
  }
  held.clear();
  EXPECT_GT(pool.trim(), 0U);
}

TEST_F(page_backing_test, ReservedHugePagesThatAreNotThereAreCounted) {
  const std::size_t size = (reserved_pages_free() + 1) * huge_page_bytes;
  backed_mapping mapping({.huge = huge_pages::reserved}, size);
  EXPECT_EQ(mapping.source().refused(), 1U);
  EXPECT_FALSE(facts_of(mapping.memory().data()).has("ht"));
  const std::span page = mapping.memory().subspan(page_size(), page_size());
  page.back() = std::byte{1};
  EXPECT_TRUE(mapping.source().purge(page.data(), page.size())) << "ordinary pages can go one by one";
  EXPECT_TRUE(is_zero(page));
}

TEST_F(page_backing_test, APartOfAHugePageIsNotReserved) {
  backed_mapping mapping({.huge = huge_pages::reserved}, huge_page_bytes + page_size());
  EXPECT_EQ(mapping.source().refused(), 1U);
  EXPECT_FALSE(facts_of(mapping.memory().data()).has("ht"));
  mapping.memory().back() = std::byte{1};
}

TEST_F(page_backing_test, PopulatedMemoryIsResidentAndKeepsItsContent) {
  constexpr std::size_t page_count = 100;
  backed_mapping mapping({.prefault = true}, page_count * page_size());
  mapping.memory()[page_size()] = std::byte{7};
  const std::size_t before = facts_of(mapping.memory().data()).resident_bytes;
  EXPECT_TRUE(mapping.source().populate(mapping.memory().data(), mapping.memory().size()));
  EXPECT_EQ(facts_of(mapping.memory().data()).resident_bytes - before, (page_count - 1) * page_size());
  EXPECT_EQ(resident_pages(mapping.memory().data(), mapping.memory().size()), page_count);
  EXPECT_EQ(std::exchange(mapping.memory()[page_size()], std::byte{0}), std::byte{7});
  EXPECT_TRUE(is_zero(mapping.memory()));
  EXPECT_EQ(mapping.source().refused(), 0U);
}

// From here on the kernel answers one call, with one value of its third argument, with an error.
bool refuse_calls(std::uint32_t call, std::uint32_t third_argument, std::uint32_t error) {
  std::array<sock_filter, 6> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),  // its lower half
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, third_argument, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

constexpr std::uint32_t advice_populate_write = 23;

TEST(page_backing_death_test, PopulatesPageByPageWhereTheKernelCannot) {
  const auto populate_on_an_old_kernel = [] {
    if (!refuse_calls(SYS_madvise, advice_populate_write, EINVAL)) std::_Exit(2);
    backed_mapping mapping({.prefault = true}, 10 * page_size());
    mapping.memory()[5] = std::byte{7};
    const bool told = mapping.source().populate(mapping.memory().data(), 10 * page_size());
    const bool resident = resident_pages(mapping.memory().data(), 10 * page_size()) == 10;
    const bool kept = mapping.memory()[5] == std::byte{7} && is_zero(mapping.memory().subspan(6));
    std::_Exit(told && resident && kept && mapping.source().refused() == 0 ? 0 : 1);
  };
  EXPECT_EXIT(populate_on_an_old_kernel(), ::testing::ExitedWithCode(0), "");
}

TEST(page_backing_death_test, WhatCannotBePopulatedIsCounted) {
  const auto populate_without_memory = [] {
    if (!refuse_calls(SYS_madvise, advice_populate_write, ENOMEM)) std::_Exit(2);
    backed_mapping mapping({.prefault = true}, 10 * page_size());
    const bool told = mapping.source().populate(mapping.memory().data(), 10 * page_size());
    std::_Exit(told && mapping.source().refused() == 1 ? 0 : 1);
  };
  EXPECT_EXIT(populate_without_memory(), ::testing::ExitedWithCode(0), "");
}

TEST(page_backing_death_test, ANodeThatMayNotBeChosenIsCounted) {
  const auto map_in_a_sandbox = [] {
    if (!refuse_calls(SYS_mbind, MPOL_PREFERRED, EPERM)) std::_Exit(2);
    backed_mapping mapping({.numa_node = 0}, page_size());
    std::_Exit(mapping.source().refused() == 1 ? 0 : 1);
  };
  EXPECT_EXIT(map_in_a_sandbox(), ::testing::ExitedWithCode(0), "");
}

TEST_F(page_backing_test, PagesPreferTheirNode) {
  backed_mapping mapping({.numa_node = 0}, 4 * page_size());
  if (mapping.source().refused() != 0) {
    EXPECT_EQ(mapping.source().refused(), 1U);
    GTEST_SKIP() << "mbind(2) is not there or not allowed: counted, as it should be";
  }
  int policy = -1;
  std::array<unsigned long, 16> nodes{};
  ASSERT_EQ(::syscall(SYS_get_mempolicy, &policy, nodes.data(), 1024UL, mapping.memory().data(), MPOL_F_ADDR), 0);
  EXPECT_EQ(policy, MPOL_PREFERRED);
  EXPECT_EQ(nodes[0], 1UL);
  int node = -1;
  mapping.memory()[0] = std::byte{1};
  ASSERT_EQ(::syscall(SYS_get_mempolicy, &node, nullptr, 0UL, mapping.memory().data(), MPOL_F_NODE | MPOL_F_ADDR), 0);
  EXPECT_EQ(node, 0);
}

TEST_F(page_backing_test, ANodeThatIsNotThereIsCounted) {
  backed_mapping mapping({.numa_node = 1023}, page_size());
  EXPECT_EQ(mapping.source().refused(), 1U);
  mapping.memory()[0] = std::byte{1};
}

template <class Pool>
class pool_backing_test : public ::testing::Test {
 protected:
  // Pages of the slab that `block` lies in, resident and all.
  static std::pair<std::size_t, std::size_t> slab_pages(const buffer& block) {
    const detail::slab* const slab = detail::page_map::find(block.data());
    return {resident_pages(slab->base, slab->span_bytes), slab->span_bytes / page_size()};
  }
};
TYPED_TEST_SUITE(pool_backing_test, support::both_pools, support::pool_name);

// What makes memory local to the thread that uses it.
TYPED_TEST(pool_backing_test, BlocksAreTouchedByWhoeverWritesIntoThemFirst) {
  pool_options options;
  options.backing.huge = huge_pages::never;  // one touch, one page
  TypeParam pool(options);
  for (const std::size_t size : {std::size_t{64}, std::size_t{1000}, std::size_t{100000}, std::size_t{3} << 20}) {
    buffer block = pool.acquire(size);
    EXPECT_EQ(this->slab_pages(block).first, 0U) << size;
    block.writable(1)[0] = std::byte{1};
    EXPECT_EQ(this->slab_pages(block).first, 1U) << size;
    const buffer other = pool.acquire(size);
    block.release();
    EXPECT_LE(this->slab_pages(other).first, 1U) << size;
  }
}

TYPED_TEST(pool_backing_test, ThePagesOfAPrefaultedSlabAreThere) {
  pool_options options;
  options.backing.prefault = true;
  TypeParam pool(options);
  for (const std::size_t size : {std::size_t{64}, std::size_t{1000}, std::size_t{100000}, std::size_t{3} << 20}) {
    const buffer block = pool.acquire(size);
    const auto [resident, all] = this->slab_pages(block);
    EXPECT_EQ(resident, all) << size;
  }
  EXPECT_EQ(pool.stats().backing_refused, 0U);
}

// Nobody wrote into it, and still there is something to hand back.
TYPED_TEST(pool_backing_test, WhatWasPrefaultedCanBeTrimmed) {
  pool_options options;
  options.backing.prefault = true;
  TypeParam pool(options);
  const buffer kept = pool.acquire(page_size());
  const auto [resident, all] = this->slab_pages(kept);
  EXPECT_EQ(resident, all);
  EXPECT_EQ(pool.trim(), (all - 1) * page_size());
  EXPECT_EQ(this->slab_pages(kept).first, 1U);
  EXPECT_TRUE(pool.check_invariants());
}

}  // namespace
}  // namespace slabbuf
