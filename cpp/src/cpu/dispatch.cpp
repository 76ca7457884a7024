// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "require.hpp"
#include "warpfactor/runtime.hpp"

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace warpfactor {
namespace {

#if defined(WARPFACTOR_HAVE_AVX2) || defined(WARPFACTOR_HAVE_AVX512)
// Both also ask the operating system (XCR0): wide registers may be used only if the system saves them.
#if defined(_MSC_VER)  // clang-cl too: __builtin_cpu_supports would need its run-time library
bool system_saves(unsigned long long registers) {
  int info[4];
  __cpuid(info, 1);
  return (info[2] & (1 << 27)) != 0 && (_xgetbv(0) & registers) == registers;
}
bool leaf7_has(int ebx_bits) {
  int info[4];
  __cpuidex(info, 7, 0);
  return (info[1] & ebx_bits) == ebx_bits;
}
bool has_avx2() {
  int info[4];
  __cpuid(info, 1);
  return (info[2] & (1 << 12)) != 0 && leaf7_has(1 << 5) && system_saves(0x6);
}
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && leaf7_has((1 << 16) | (1 << 17) | (1 << 30) | static_cast<int>(1u << 31)) && system_saves(0xe6);
}
#else
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

struct Choice {
  const KernelTable* table;
  bool runs_here;
};

/// Built tables, narrowest first.
std::vector<Choice> choices() {
  std::vector<Choice> all{{&isa_baseline::kKernels, true}};
#if defined(WARPFACTOR_HAVE_AVX2)
  all.push_back({&isa_avx2::kKernels, has_avx2()});
#endif
#if defined(WARPFACTOR_HAVE_AVX512)
  all.push_back({&isa_avx512::kKernels, has_avx512()});
#endif
  return all;
}

const KernelTable& choose() {
  const std::vector<Choice> all = choices();
  const char* forced = std::getenv("WARPFACTOR_ISA");
  if (forced == nullptr || *forced == '\0') {
    const KernelTable* best = nullptr;
    for (const Choice& choice : all) {
      if (choice.runs_here) best = choice.table;
    }
    return *best;
  }
  std::string usable;
  for (const Choice& choice : all) {
    if (!choice.runs_here) continue;
    if (choice.table->instruction_set == std::string(forced)) return *choice.table;
    usable += (usable.empty() ? "" : ", ") + std::string(choice.table->instruction_set);
  }
  reject("WARPFACTOR_ISA", forced,
         "an instruction set that this build and this processor have: unset it, or use one of " + usable);
}

}  // namespace

const KernelTable& kernel_table() {
  static const KernelTable& table = choose();  // an exception leaves it unset, so the next call asks again
  return table;
}

std::string instruction_set() { return kernel_table().instruction_set; }

std::vector<std::string> built_instruction_sets() {
  std::vector<std::string> names;
  for (const Choice& choice : choices()) names.emplace_back(choice.table->instruction_set);
  return names;
}

}  // namespace warpfactor
