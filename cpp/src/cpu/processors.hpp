// SPDX-License-Identifier: Apache-2.0
// Which of the instruction sets that a processor has trains fastest on it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/kernel_table.hpp"

namespace warpfactor {

/// A kind of processor, as cpuid tells it. `vendor` is empty where there is no cpuid.
struct Processor {
  std::string vendor;
  int family = 0;
};
[[nodiscard]] Processor this_processor();

/// A kind of processors whose widest vectors are not the fastest for all ranks.
struct SlowWideVectors {
  std::string_view vendor;
  int family;
  std::string_view name;
  std::string_view wide, narrow;
  std::int64_t wide_from;  ///< bytes of a row from which the wide vectors are faster
};

/// By family and not by a measurement at run time, so that a kind of processor gives the same bits in every run.
/// M updates/s of plain SGD with biases, avx2 / avx512, 9.0 M ratings of MovieLens 10M's shape, two threads:
///
///   AMD Zen 4 (25)   k = 32: 256 / 201    k = 64: 166 / 159    k = 128:  90 /  94   it takes 512-bit vectors in halves
///   AMD Zen 5 (26)   k = 32: 304 / 328    k = 64: 191 / 263    k = 128: 113 / 156   2026-11-28
///
/// Those that are not named here (Zen 5, Intel's) have the widest vectors as the fastest.
inline constexpr SlowWideVectors kSlowWideVectors[] = {
    {"AuthenticAMD", 25, "AMD Zen 4", "avx512", "avx2", 512},
};

/// What trains rows of so many bytes fastest on a processor that has `usable`, narrowest first.
[[nodiscard]] std::string_view fastest_for_training(const Processor& processor, std::span<const std::string> usable,
                                                    std::int64_t row_bytes);

/// The table that trains rows of so many bytes fastest, or the one WARPFACTOR_ISA names. Throws as kernel_table().
[[nodiscard]] const KernelTable& training_table(std::int64_t row_bytes);

}  // namespace warpfactor
