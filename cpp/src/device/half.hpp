// SPDX-License-Identifier: Apache-2.0
// Half precision as storage: conversions alone, since all arithmetic is in float.
#pragma once

#include "fixed_width.hpp"

#if !defined(__CUDACC_RTC__)
#include <cstring>
#endif

namespace warpfactor {

/// IEEE 754 binary16.
struct Half {
  std::uint16_t bits;
};

#if defined(__CUDA_ARCH__)

// As PTX, because CUDA's run-time compiler may find no <cuda_fp16.h>.
__device__ __forceinline__ float to_number(Half h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h.bits));
  return x;
}
__device__ __forceinline__ Half to_half(float x) {
  Half h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
  return h;
}

#elif !defined(__CUDACC_RTC__)

namespace half_bits {
inline std::uint32_t of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float number(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
}  // namespace half_bits

inline float to_number(Half h) {
  const std::uint32_t sign = std::uint32_t{h.bits & 0x8000u} << 16, rest = h.bits & 0x7fffu;
  if (rest >= 0x7c00u) return half_bits::number(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinite, or no number
  // With the exponent moved by a product, subnormal numbers come out right, too.
  return half_bits::number(sign | half_bits::of(half_bits::number(rest << 13) * 0x1p112f));
}

/// To the nearest, of two equally near to the even one.
inline Half to_half(float x) {
  const std::uint32_t bits = half_bits::of(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  std::uint32_t half;
  if (rest > 0x7f800000u) {
    half = 0x7e00u;
  } else if (rest >= 0x477ff000u) {  // from 65520 on
    half = 0x7c00u;
  } else if (rest < 0x38800000u) {  // below 2^-14, where all have the same last place: that of 0.5
    half = half_bits::of(half_bits::number(rest) + 0.5f) - half_bits::of(0.5f);
  } else {
    half = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13;
  }
  return {static_cast<std::uint16_t>(sign | half)};
}

#endif

}  // namespace warpfactor
