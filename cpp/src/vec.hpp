// SPDX-License-Identifier: Apache-2.0
// One vector register of floats or doubles, as wide as the instruction set this file is compiled for.
// Included by the kernels only, inside one namespace per instruction set (see update_rule.hpp for why).
#pragma once

#include <cstdint>
#include <cstring>

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;  // SSE2 and NEON, both part of their baseline
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define WARPFACTOR_HAS_SHUFFLE 1
#endif
#endif
#if !defined(WARPFACTOR_HAS_SHUFFLE)
#define WARPFACTOR_HAS_SHUFFLE 0  // GCC before 12
#endif

#if defined(__GNUC__) || defined(__clang__)

template <class T>
struct VecTraits {
  typedef T Raw __attribute__((vector_size(kVectorBytes)));
};

template <class T>
struct Vec {
  using Raw = typename VecTraits<T>::Raw;
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  Raw raw;

  static Vec zero() { return {Raw{}}; }
  static Vec load(const T* from) {
    Vec v;
    std::memcpy(&v.raw, from, sizeof(Raw));
    return v;
  }
  void store(T* to) const { std::memcpy(to, &raw, sizeof(Raw)); }
  friend Vec operator*(T a, const Vec& b) { return {a * b.raw}; }
  friend Vec operator*(const Vec& a, const Vec& b) { return {a.raw * b.raw}; }
  friend Vec operator+(const Vec& a, const Vec& b) { return {a.raw + b.raw}; }
  friend Vec operator-(const Vec& a, const Vec& b) { return {a.raw - b.raw}; }
  T sum() const { return halve<kVectorBytes>(raw); }

 private:
  // The upper half is added to the lower one, in registers half as wide, until 16 bytes are left.
  template <int kBytes, class Wide>
  static T halve(Wide v) {
    constexpr int n = kBytes / static_cast<int>(sizeof(T));
    if constexpr (kBytes > 16) {
      typedef T Half __attribute__((vector_size(kBytes / 2)));
      Half low, high;
#if WARPFACTOR_HAS_SHUFFLE
      if constexpr (n == 16) {
        low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
        high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
      } else if constexpr (n == 8) {
        low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
        high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
      } else {
        low = __builtin_shufflevector(v, v, 0, 1);
        high = __builtin_shufflevector(v, v, 2, 3);
      }
#else  // through memory
      std::memcpy(&low, &v, sizeof(Half));
      std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(Half), sizeof(Half));
#endif
      return halve<kBytes / 2>(low + high);
    } else if constexpr (n == 4) {
      return (v[0] + v[2]) + (v[1] + v[3]);
    } else {
      return v[0] + v[1];
    }
  }
};

#else  // no vector extensions: plain lanes, which the compiler may vectorize

template <class T>
struct Vec {
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  T raw[lanes];

  static Vec zero() { return {}; }
  static Vec load(const T* from) {
    Vec v;
    std::memcpy(v.raw, from, sizeof(v.raw));
    return v;
  }
  void store(T* to) const { std::memcpy(to, raw, sizeof(raw)); }
  template <class F>
  static Vec each(F f) {
    Vec v;
    for (int l = 0; l < lanes; ++l) v.raw[l] = f(l);
    return v;
  }
  friend Vec operator*(T a, const Vec& b) {
    return each([&](int l) { return a * b.raw[l]; });
  }
  friend Vec operator*(const Vec& a, const Vec& b) {
    return each([&](int l) { return a.raw[l] * b.raw[l]; });
  }
  friend Vec operator+(const Vec& a, const Vec& b) {
    return each([&](int l) { return a.raw[l] + b.raw[l]; });
  }
  friend Vec operator-(const Vec& a, const Vec& b) {
    return each([&](int l) { return a.raw[l] - b.raw[l]; });
  }
  T sum() const {
    T total = 0;
    for (int l = 0; l < lanes; ++l) total += raw[l];
    return total;
  }
};

#endif

inline void prefetch(const void* address) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(address, 1, 3);
#else
  (void)address;
#endif
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
