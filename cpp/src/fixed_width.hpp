// SPDX-License-Identifier: Apache-2.0
// The integer types that kernels and their callers share. CUDA's run-time compiler has no <cstdint>, and nothing else
// in its namespace std that these names could clash with.
#pragma once

#if defined(__CUDACC_RTC__)
namespace std {
using int32_t = int;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using int64_t = long long;
}  // namespace std
#else
#include <cstdint>
#endif
