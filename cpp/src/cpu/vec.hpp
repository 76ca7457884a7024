// SPDX-License-Identifier: Apache-2.0
// One vector register of floats or doubles, as wide as the instruction set this file is compiled for.
// Included by the kernels only, inside one namespace per instruction set (see update_rule.hpp for why).
#pragma once

#include "update_rule.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

// Whether the vectors multiply and add in one rounding, and by what functions. Those of the headers are always inlined.
#if (defined(__GNUC__) || defined(__clang__)) && defined(__FMA__)
#define WARPFACTOR_FUSES 1
#include <immintrin.h>
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__aarch64__)
#define WARPFACTOR_FUSES 1
#include <arm_neon.h>
#else
#define WARPFACTOR_FUSES 0
#endif

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

/// sum + a * b, rounded once where the vectors' are. Written out, because whether a compiler fuses a product and a sum
/// depends on the compiler, on its options, and on whether the loop is turned into vector code: the bits of a score
/// must not. Training leaves it to the compiler: its bits are those of a build.
WARPFACTOR_INLINE float plus_product(float sum, float a, float b) {
#if WARPFACTOR_FUSES
  return __builtin_fmaf(a, b, sum);
#else
  return sum + a * b;
#endif
}
WARPFACTOR_INLINE double plus_product(double sum, double a, double b) {
#if WARPFACTOR_FUSES
  return __builtin_fma(a, b, sum);
#else
  return sum + a * b;
#endif
}

#if defined(__GNUC__) || defined(__clang__)

template <class T>
struct VecTraits {
  typedef T Raw __attribute__((vector_size(kVectorBytes)));
  /// The same, in an aligned factor row and at any address.
  typedef T Row __attribute__((vector_size(kVectorBytes), may_alias));
  typedef T Memory __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};

/// The same of registers.
template <class Raw>
WARPFACTOR_INLINE Raw plus_product_of(Raw sum, Raw a, Raw b) {
  constexpr bool kFloats = sizeof(sum[0]) == sizeof(float);
#if defined(__AVX512F__)
  if constexpr (kFloats) {
    return Raw(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(sum)));
  } else {
    return Raw(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(sum)));
  }
#elif defined(__AVX2__) && defined(__FMA__)
  if constexpr (kFloats) {
    return Raw(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(sum)));
  } else {
    return Raw(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(sum)));
  }
#elif defined(__FMA__)
  if constexpr (kFloats) {
    return Raw(_mm_fmadd_ps(__m128(a), __m128(b), __m128(sum)));
  } else {
    return Raw(_mm_fmadd_pd(__m128d(a), __m128d(b), __m128d(sum)));
  }
#elif defined(__aarch64__)
  if constexpr (kFloats) {
    return Raw(vfmaq_f32(float32x4_t(sum), float32x4_t(a), float32x4_t(b)));
  } else {
    return Raw(vfmaq_f64(float64x2_t(sum), float64x2_t(a), float64x2_t(b)));
  }
#else
  static_cast<void>(kFloats);
  return sum + a * b;
#endif
}

template <class T>
struct Vec {
  /// The register itself. These two are for factor rows, which are aligned.
  using Raw = typename VecTraits<T>::Raw;
  WARPFACTOR_INLINE static Raw load_raw(const T* from) {
    return *reinterpret_cast<const typename VecTraits<T>::Row*>(from);
  }
  WARPFACTOR_INLINE static void store_raw(T* to, Raw v) { *reinterpret_cast<typename VecTraits<T>::Row*>(to) = v; }
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  Raw raw;

  WARPFACTOR_INLINE static Vec zero() { return {Raw{}}; }
  WARPFACTOR_INLINE static Vec load(const T* from) {
    return {*reinterpret_cast<const typename VecTraits<T>::Memory*>(from)};
  }
  WARPFACTOR_INLINE friend Vec operator*(Vec a, Vec b) { return {a.raw * b.raw}; }
  WARPFACTOR_INLINE friend Vec operator+(Vec a, Vec b) { return {a.raw + b.raw}; }
  WARPFACTOR_INLINE friend Vec operator+(Vec a, T b) { return {a.raw + b}; }
  WARPFACTOR_INLINE friend Vec operator+(T a, Vec b) { return {a + b.raw}; }
  WARPFACTOR_INLINE friend Vec operator-(Vec a, Vec b) { return {a.raw - b.raw}; }
  WARPFACTOR_INLINE friend Vec operator-(Vec a, T b) { return {a.raw - b}; }
  WARPFACTOR_INLINE friend Vec operator*(T a, Vec b) { return {a * b.raw}; }
  WARPFACTOR_INLINE friend Vec operator/(T a, Vec b) { return {a / b.raw}; }
  WARPFACTOR_INLINE friend Vec plus_product(Vec sum, Vec a, Vec b) { return {plus_product_of(sum.raw, a.raw, b.raw)}; }
  WARPFACTOR_INLINE friend Vec plus_product(Vec sum, T a, Vec b) {
    return {plus_product_of(sum.raw, a - Raw{}, b.raw)};
  }
  WARPFACTOR_INLINE friend Vec root(Vec a) {
    for (int lane = 0; lane < lanes; ++lane) a.raw[lane] = root(a.raw[lane]);
    return a;
  }
  WARPFACTOR_INLINE friend Vec at_most(Vec a, T limit) { return {a.raw > limit ? limit - Raw{} : a.raw}; }
  WARPFACTOR_INLINE friend Vec at_least(Vec a, T limit) { return {a.raw < limit ? limit - Raw{} : a.raw}; }
  WARPFACTOR_INLINE Raw as_raw() const { return raw; }
  T sum() const {
    const Quarter v = fold<kVectorBytes>(raw);
    if constexpr (kQuarter == 4) {
      return (v[0] + v[2]) + (v[1] + v[3]);
    } else {
      return v[0] + v[1];
    }
  }

  /// The sum of each of eight vectors' lanes, in order, kQuarter of them in each result. Far fewer instructions than
  /// eight calls of sum().
  static constexpr int kQuarter = 16 / static_cast<int>(sizeof(T));  // lanes of the narrowest register, 16 bytes
  typedef T Quarter __attribute__((vector_size(16)));
  WARPFACTOR_INLINE static void sums(const Raw (&v)[8], Quarter (&out)[8 / kQuarter]) {
    for (int j = 0; j < 8; j += kQuarter) {
#if WARPFACTOR_HAS_SHUFFLE
      Raw paired = pair(v[j], v[j + 1]);
      if constexpr (kQuarter == 4) paired = pair(paired, pair(v[j + 2], v[j + 3]));
      out[j / kQuarter] = fold<kVectorBytes>(paired);
#else
      for (int lane = 0; lane < kQuarter; ++lane) out[j / kQuarter][lane] = Vec{v[j + lane]}.sum();
#endif
    }
  }

 private:
#if WARPFACTOR_HAS_SHUFFLE
  /// In each 16 bytes, the sums of neighbouring lanes of x, then of y.
  static Raw pair(Raw x, Raw y) { return pair(x, y, std::make_index_sequence<static_cast<std::size_t>(lanes)>()); }
  template <std::size_t... lane>
  static Raw pair(Raw x, Raw y, std::index_sequence<lane...>) {
    return __builtin_shufflevector(x, y, even(lane)...) + __builtin_shufflevector(x, y, (even(lane) + 1)...);
  }
  static constexpr int even(std::size_t lane) {
    const int at = static_cast<int>(lane) % kQuarter, first = static_cast<int>(lane) - at;
    return at < kQuarter / 2 ? first + 2 * at : lanes + first + 2 * at - kQuarter;
  }
#endif

  /// Adds the upper half to the lower one until 16 bytes are left.
  template <int kBytes, class Wide>
  static Quarter fold(Wide v) {
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
      return fold<kBytes / 2>(low + high);
    } else {
      return v;
    }
  }
};

#else  // no vector extensions: plain lanes, which the compiler may vectorize

template <class T>
struct Vec {
  using Raw = Vec;
  static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
  T raw[lanes];

  static Vec zero() { return {}; }
  static Vec load(const T* from) {
    Vec v;
    std::memcpy(v.raw, from, sizeof(v.raw));
    return v;
  }
  static void store(T* to, const Vec& v) { std::memcpy(to, v.raw, sizeof(v.raw)); }
  template <class F>
  static Vec each(F f) {
    Vec v;
    for (int l = 0; l < lanes; ++l) v.raw[l] = f(l);
    return v;
  }
  friend Vec operator+(T a, const Vec& b) {
    return each([&](int l) { return a + b.raw[l]; });
  }
  friend Vec operator/(T a, const Vec& b) {
    return each([&](int l) { return a / b.raw[l]; });
  }
  friend Vec root(const Vec& a) {
    return each([&](int l) { return root(a.raw[l]); });
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
  friend Vec operator+(const Vec& a, T b) {
    return each([&](int l) { return a.raw[l] + b; });
  }
  friend Vec operator-(const Vec& a, T b) {
    return each([&](int l) { return a.raw[l] - b; });
  }
  friend Vec plus_product(const Vec& sum, const Vec& a, const Vec& b) {
    return each([&](int l) { return plus_product(sum.raw[l], a.raw[l], b.raw[l]); });
  }
  friend Vec plus_product(const Vec& sum, T a, const Vec& b) {
    return each([&](int l) { return plus_product(sum.raw[l], a, b.raw[l]); });
  }
  friend Vec at_most(const Vec& a, T limit) {
    return each([&](int l) { return a.raw[l] > limit ? limit : a.raw[l]; });
  }
  friend Vec at_least(const Vec& a, T limit) {
    return each([&](int l) { return a.raw[l] < limit ? limit : a.raw[l]; });
  }
  const Vec& as_raw() const { return *this; }
  T sum() const {
    T total = 0;
    for (int l = 0; l < lanes; ++l) total += raw[l];
    return total;
  }
  static Vec load_raw(const T* from) { return load(from); }
  static void store_raw(T* to, const Vec& v) { store(to, v); }
  static constexpr int kQuarter = 1;
  typedef T Quarter;
  static void sums(const Vec (&v)[8], T (&out)[8]) {
    for (int j = 0; j < 8; ++j) out[j] = v[j].sum();
  }
};

#endif

/// One number for each rating of a group, in as many registers as that takes. update_rule.hpp takes it in place of T.
template <class T>
struct Eight {
#if defined(__GNUC__) || defined(__clang__)
  static constexpr int n = Vec<T>::lanes < 8 ? Vec<T>::lanes : 8;
  typedef T Part __attribute__((vector_size(n * sizeof(T))));
  typedef T Memory __attribute__((vector_size(n * sizeof(T)), aligned(alignof(T)), may_alias));
#else
  static constexpr int n = 1;
  typedef T Part;
  typedef T Memory;
#endif
  static constexpr int n_parts = 8 / n;
  Part parts[n_parts];

  static Eight load(const T* from) {
    return by_part([&](int p) { return *reinterpret_cast<const Memory*>(from + p * n); });
  }
  void store(T* to) const {
    for (int p = 0; p < n_parts; ++p) *reinterpret_cast<Memory*>(to + p * n) = parts[p];
  }
  /// The sum of each vector's lanes.
  WARPFACTOR_INLINE static Eight sums(const typename Vec<T>::Raw (&vectors)[8]) {
    constexpr int kQuarter = Vec<T>::kQuarter, kJoined = n / kQuarter;
    typename Vec<T>::Quarter quarters[8 / kQuarter];
    Vec<T>::sums(vectors, quarters);
    return by_part([&](int p) {
      const auto* const of = quarters + p * kJoined;
#if WARPFACTOR_HAS_SHUFFLE
      if constexpr (kJoined == 4) {
        return joined(joined(of[0], of[1]), joined(of[2], of[3]));
      } else if constexpr (kJoined == 2) {
        return joined(of[0], of[1]);
      }
#endif
      Part part;
      std::memcpy(&part, of, sizeof(part));
      return part;
    });
  }
  [[nodiscard]] T sum() const {
    alignas(kVectorBytes) T v[8];
    store(v);
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
  }
  /// of(0) .. of(7), put together in registers: in memory, a wide load would have to wait for several narrow stores.
  template <class Of>
  static Eight each(const Of& of) {
    Eight v;
    for (int part = 0, j = 0; part < n_parts; ++part, j += n) {
      if constexpr (n == 8) {
        v.parts[part] = Part{of(j), of(j + 1), of(j + 2), of(j + 3), of(j + 4), of(j + 5), of(j + 6), of(j + 7)};
      } else if constexpr (n == 4) {
        v.parts[part] = Part{of(j), of(j + 1), of(j + 2), of(j + 3)};
      } else if constexpr (n == 2) {
        v.parts[part] = Part{of(j), of(j + 1)};
      } else {
        v.parts[part] = of(j);
      }
    }
    return v;
  }
  static Eight all(T value) {
    return each([&](int) { return value; });
  }
  template <class F>
  static Eight by_part(const F& f) {
    Eight v;
    for (int part = 0; part < n_parts; ++part) v.parts[part] = f(part);
    return v;
  }
  friend Eight operator+(const Eight& a, const Eight& b) {
    return by_part([&](int p) { return a.parts[p] + b.parts[p]; });
  }
  friend Eight operator-(const Eight& a, const Eight& b) {
    return by_part([&](int p) { return a.parts[p] - b.parts[p]; });
  }
  friend Eight operator*(const Eight& a, const Eight& b) {
    return by_part([&](int p) { return a.parts[p] * b.parts[p]; });
  }
  friend Eight operator/(const Eight& a, const Eight& b) {
    return by_part([&](int p) { return a.parts[p] / b.parts[p]; });
  }
  friend Eight operator/(T a, const Eight& b) {
    return by_part([&](int p) { return a / b.parts[p]; });
  }
  friend Eight operator+(T a, const Eight& b) {
    return by_part([&](int p) { return a + b.parts[p]; });
  }
  friend Eight operator*(T a, const Eight& b) {
    return by_part([&](int p) { return a * b.parts[p]; });
  }
  friend Eight operator-(T a, const Eight& b) {
    return by_part([&](int p) { return a - b.parts[p]; });
  }
  friend Eight at_most(const Eight& a, T limit) {
    return by_part([&](int p) { return a.parts[p] > limit ? limit - Part{} : a.parts[p]; });
  }
  friend Eight at_least(const Eight& a, T limit) {
    return by_part([&](int p) { return a.parts[p] < limit ? limit - Part{} : a.parts[p]; });
  }
  friend Eight sign(const Eight& a) {
    return by_part([&](int p) {
      const Part x = a.parts[p], zero{};
      return x > zero ? T(1) - zero : (x < zero ? T(-1) - zero : x);
    });
  }

#if WARPFACTOR_HAS_SHUFFLE
  /// Two registers as one of twice the width, likewise.
  template <class Half>
  WARPFACTOR_INLINE static auto joined(Half low, Half high) {
    return joined(low, high, std::make_index_sequence<2 * sizeof(Half) / sizeof(T)>());
  }
  template <class Half, std::size_t... lane>
  WARPFACTOR_INLINE static auto joined(Half low, Half high, std::index_sequence<lane...>) {
    return __builtin_shufflevector(low, high, static_cast<int>(lane)...);
  }
#endif

  /// Calls f for each number, for functions without a vector instruction.
  template <class F>
  static Eight one_by_one(const Eight& x, const F& f) {
    alignas(kVectorBytes) T numbers[8];
    x.store(numbers);
    for (int j = 0; j < 8; ++j) numbers[j] = f(numbers[j]);
    return load(numbers);
  }
};

template <class T>
inline Eight<T> root(const Eight<T>& x) {
  return Eight<T>::one_by_one(x, [](T number) { return root(number); });
}
template <class T>
inline Eight<T> exponential(const Eight<T>& x) {
  return Eight<T>::one_by_one(x, [](T number) { return exponential(number); });
}
template <class T>
inline Eight<T> logarithm(const Eight<T>& x) {
  return Eight<T>::one_by_one(x, [](T number) { return logarithm(number); });
}
template <class T>
inline Eight<T> logarithm_1p(const Eight<T>& x) {
  return Eight<T>::one_by_one(x, [](T number) { return logarithm_1p(number); });
}

/// A vector whose lanes add up to p.q over `n` elements, a multiple of the row alignment. Long rows take two sums, so
/// that an addition need not wait for the one before.
template <class T>
WARPFACTOR_INLINE typename Vec<T>::Raw products_of(const T* p, const T* q, std::int64_t n) {
  using V = Vec<T>;
  typename V::Raw even = V::load_raw(p) * V::load_raw(q);
  std::int64_t f = V::lanes;
  if (n < 4 * V::lanes) {
    for (; f < n; f += V::lanes) even = even + V::load_raw(p + f) * V::load_raw(q + f);
    return even;
  }
  typename V::Raw odd = V::load_raw(p + f) * V::load_raw(q + f);
  for (f += V::lanes; f + V::lanes < n; f += 2 * V::lanes) {
    even = even + V::load_raw(p + f) * V::load_raw(q + f);
    odd = odd + V::load_raw(p + f + V::lanes) * V::load_raw(q + f + V::lanes);
  }
  if (f < n) even = even + V::load_raw(p + f) * V::load_raw(q + f);
  return even + odd;
}

/// Unrolls the short loop that follows; otherwise its arrays would lie in memory.
#if defined(__clang__)
#define WARPFACTOR_UNROLL_8 _Pragma("clang loop unroll_count(8)")
#elif defined(__GNUC__)
#define WARPFACTOR_UNROLL_8 _Pragma("GCC unroll 8")
#else
#define WARPFACTOR_UNROLL_8
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
