// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "cpu/processors.hpp"
#include "require.hpp"
#include "text.hpp"
#include "warpfactor/runtime.hpp"

#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
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

/// What WARPFACTOR_ISA names; nullptr: nothing.
const KernelTable* forced_table(const std::vector<Choice>& all) {
  const char* forced = std::getenv("WARPFACTOR_ISA");
  if (forced == nullptr || *forced == '\0') return nullptr;
  std::string usable;
  for (const Choice& choice : all) {
    if (!choice.runs_here) continue;
    if (choice.table->instruction_set == std::string(forced)) return choice.table;
    usable += (usable.empty() ? "" : ", ") + std::string(choice.table->instruction_set);
  }
  reject("WARPFACTOR_ISA", forced,
         "an instruction set that this build and this processor have: unset it, or use one of " + usable);
}

/// Made once in a process, since the bits depend on it.
struct Dispatch {
  std::vector<Choice> all = choices();
  const KernelTable* forced = forced_table(all);
  Processor processor = this_processor();
  std::vector<std::string> usable;

  Dispatch() {
    for (const Choice& choice : all) {
      if (choice.runs_here) usable.emplace_back(choice.table->instruction_set);
    }
  }
  [[nodiscard]] const KernelTable& table(std::string_view name) const {
    return *std::find_if(all.begin(), all.end(), [&](const Choice& choice) {
              return choice.table->instruction_set == name;
            })->table;
  }
};

const Dispatch& dispatch() {
  // An exception leaves it unset, so the next call asks again. It is never destroyed: threads may work on while a
  // process ends.
  static const Dispatch& made = *new Dispatch;
  return made;
}

const SlowWideVectors* slow_wide_vectors(const Processor& processor, std::span<const std::string> usable) {
  for (const SlowWideVectors& kind : kSlowWideVectors) {
    const auto has = [&](std::string_view name) {
      return std::find(usable.begin(), usable.end(), name) != usable.end();
    };
    if (kind.vendor == processor.vendor && kind.family == processor.family && has(kind.wide) && has(kind.narrow)) {
      return &kind;
    }
  }
  return nullptr;
}

}  // namespace

Processor this_processor() {
  unsigned int leaf0[4] = {}, leaf1[4] = {};
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  __cpuid(reinterpret_cast<int*>(leaf0), 0);
  __cpuid(reinterpret_cast<int*>(leaf1), 1);
#elif defined(__x86_64__) || defined(__i386__)
  if (__get_cpuid(0, &leaf0[0], &leaf0[1], &leaf0[2], &leaf0[3]) == 0) return {};
  if (__get_cpuid(1, &leaf1[0], &leaf1[1], &leaf1[2], &leaf1[3]) == 0) return {};
#else
  return {};
#endif
  Processor processor;
  for (const unsigned int word : {leaf0[1], leaf0[3], leaf0[2]}) {  // EBX, EDX, ECX
    for (int byte = 0; byte < 4; ++byte) processor.vendor += static_cast<char>(word >> 8 * byte & 0xff);
  }
  const unsigned int base = leaf1[0] >> 8 & 0xf, extended = leaf1[0] >> 20 & 0xff;
  processor.family = static_cast<int>(base == 0xf ? base + extended : base);
  return processor;
}

std::string_view fastest_for_training(const Processor& processor, std::span<const std::string> usable,
                                      std::int64_t row_bytes) {
  const SlowWideVectors* const slow = slow_wide_vectors(processor, usable);
  return slow != nullptr && row_bytes < slow->wide_from && usable.back() == slow->wide ? slow->narrow : usable.back();
}

const KernelTable& kernel_table() {
  const Dispatch& made = dispatch();
  return made.forced != nullptr ? *made.forced : made.table(made.usable.back());
}

const KernelTable& training_table(std::int64_t row_bytes) {
  const Dispatch& made = dispatch();
  if (made.forced != nullptr) return *made.forced;
  return made.table(fastest_for_training(made.processor, made.usable, row_bytes));
}

std::string instruction_set() { return kernel_table().instruction_set; }

std::string training_instruction_set(std::int32_t n_factors, bool in_double) {
  const std::int64_t bytes = in_double ? padded_stride<double>(n_factors) * 8 : padded_stride<float>(n_factors) * 4;
  return training_table(bytes).instruction_set;
}

std::string instruction_set_reason() {
  const Dispatch& made = dispatch();
  if (made.forced != nullptr) return "WARPFACTOR_ISA names it";
  if (const SlowWideVectors* const slow = slow_wide_vectors(made.processor, made.usable)) {
    // Rows are padded to 64 bytes: 16 numbers.
    const std::string most = text(slow->wide_from / 4 - 16) + " factors (float32)";
    return "the widest that this build and this processor have; ratings train with " + std::string(slow->narrow) +
           " up to " + most + ", which is faster on " + std::string(slow->name);
  }
  return "the widest that this build and this processor have, and the fastest for training at all ranks";
}

std::vector<std::string> built_instruction_sets() {
  std::vector<std::string> names;
  for (const Choice& choice : choices()) names.emplace_back(choice.table->instruction_set);
  return names;
}

std::vector<std::string> usable_instruction_sets() {
  std::vector<std::string> names;
  for (const Choice& choice : choices()) {
    if (choice.runs_here) names.emplace_back(choice.table->instruction_set);
  }
  return names;
}

}  // namespace warpfactor
