// SPDX-License-Identifier: Apache-2.0
// The warp that the kernels are written over. On the device a lane is a thread, and a lane's value a plain number. In
// the twin, on the host, a value is an array of all 32 lanes' numbers, so that the same kernel runs there.
#pragma once

#include "device/kernel_args.hpp"
#include "update_rule.hpp"

#if !defined(__CUDACC_RTC__)
#include <bit>
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

inline constexpr int kWarp = 32;

/// A quad: four consecutive factors, as one lane reads and writes them.
template <class S>
struct alignas(4 * sizeof(S)) Four {
  S v[4];
};

WARPFACTOR_HD WARPFACTOR_INLINE float to_number(float x) { return x; }
WARPFACTOR_HD WARPFACTOR_INLINE double to_number(double x) { return x; }
using warpfactor::to_number;

template <class S, class A>
struct Stored {
  WARPFACTOR_HD WARPFACTOR_INLINE static S of(A x) { return x; }
};
template <>
struct Stored<Half, float> {
  WARPFACTOR_HD WARPFACTOR_INLINE static Half of(float x) { return to_half(x); }
};

/// The number of the lowest set bit; there must be one.
WARPFACTOR_HD WARPFACTOR_INLINE int first_bit(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(bits)) - 1;
#elif !defined(__CUDACC_RTC__)
  return std::countr_zero(bits);
#endif
}

#if defined(__CUDACC__)

/// Other multiprocessors write to the same memory, and first-level caches do not see each other: reads and writes
/// bypass them.
class DeviceWarp {
 public:
  template <class T>
  using Of = T;
  using Mask = bool;

  __device__ DeviceWarp() : lane_(static_cast<int>(threadIdx.x) % kWarp) {}
  __device__ int lane() const { return lane_; }
  /// The number of this warp, and how many there are.
  __device__ std::int64_t number() const {
    return (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  }
  __device__ std::int64_t count() const { return static_cast<std::int64_t>(gridDim.x) * blockDim.x / kWarp; }

  static __device__ bool any(bool here) { return __any_sync(kAll, here) != 0; }
  static __device__ std::uint32_t ballot(bool here) { return __ballot_sync(kAll, here); }
  template <class T>
  static __device__ T select(bool mask, T yes, T no) {
    return mask ? yes : no;
  }
  template <int kLanes, class T>
  static __device__ T sum(T x) {
#pragma unroll
    for (int m = kLanes / 2; m > 0; m /= 2) x += __shfl_xor_sync(kAll, x, m);
    return x;
  }
  /// The value of lane `from`, in all lanes.
  template <class T>
  static __device__ T from_lane(T x, int from) {
    return __shfl_sync(kAll, x, from);
  }
  /// The value of the lane before; `first` in the first lane.
  template <class T>
  __device__ T from_previous(T x, T first) const {
    const T moved = __shfl_up_sync(kAll, x, 1);
    return lane_ == 0 ? first : moved;
  }

  template <class T>
  static __device__ T load(const T* from, std::int64_t at, bool in) {
    return in ? __ldcg(from + at) : T();
  }
  /// For memory that no kernel writes: neighbours stay in the first-level cache for the next read.
  template <class T>
  static __device__ T load_constant(const T* from, std::int64_t at, bool in) {
    return in ? __ldg(from + at) : T();
  }
  /// The two fields of an entry; zeros if a lane is not `in`. Entries are read once, so they may leave the caches
  /// first.
  static __device__ void load_entry(const Entry* from, std::int64_t at, bool in, std::int32_t& other, float& value) {
    const unsigned long long raw = in ? __ldcs(reinterpret_cast<const unsigned long long*>(from + at)) : 0;
    other = static_cast<std::int32_t>(raw);
    value = __uint_as_float(static_cast<unsigned>(raw >> 32));
  }
  template <class T>
  static __device__ void store(T* to, std::int64_t at, T x, bool in) {
    if (in) __stcg(to + at, x);
  }
  /// `to` stays as it is if a lane is not `in`. kConstant: as load_constant.
  template <bool kConstant = false, class S, class A>
  static __device__ void load4(const S* from, std::int64_t at, bool in, A (&to)[4]) {
    if (!in) return;
    const Four<S> four = load_raw<kConstant>(from + at);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[j] = to_number(four.v[j]);
  }
  template <class S, class A>
  static __device__ void store4(S* to, std::int64_t at, const A (&x)[4], bool in) {
    if (!in) return;
    Four<S> four;
#pragma unroll
    for (int j = 0; j < 4; ++j) four.v[j] = Stored<S, A>::of(x[j]);
    store_raw(to + at, four);
  }
  /// The counter's next number for each tile that wants one.
  template <int kLanes>
  __device__ std::int64_t next(std::uint32_t* counter, bool wanted) const {
    std::uint32_t number = 0;
    if (wanted && lane_ % kLanes == 0) number = atomicAdd(counter, 1u);
    return __shfl_sync(kAll, number, 0, kLanes);
  }
  /// Makes what the warp's lanes wrote visible to all of them.
  static __device__ void sync() { __syncwarp(); }

 private:
  static constexpr unsigned kAll = 0xffffffffu;

  template <bool kConstant, class Raw>
  static __device__ Raw read(const Raw* from) {
    if constexpr (kConstant) {
      return __ldg(from);
    } else {
      return __ldcg(from);
    }
  }
  template <bool kConstant, class S>
  static __device__ Four<S> load_raw(const S* from) {
    Four<S> four;
    if constexpr (sizeof(S) == 2) {
      const uint2 raw = read<kConstant>(reinterpret_cast<const uint2*>(from));
      four.v[0].bits = static_cast<std::uint16_t>(raw.x);
      four.v[1].bits = static_cast<std::uint16_t>(raw.x >> 16);
      four.v[2].bits = static_cast<std::uint16_t>(raw.y);
      four.v[3].bits = static_cast<std::uint16_t>(raw.y >> 16);
    } else if constexpr (sizeof(S) == 4) {
      const float4 raw = read<kConstant>(reinterpret_cast<const float4*>(from));
      four = {{raw.x, raw.y, raw.z, raw.w}};
    } else {
      const double2 low = read<kConstant>(reinterpret_cast<const double2*>(from)),
                    high = read<kConstant>(reinterpret_cast<const double2*>(from) + 1);
      four = {{low.x, low.y, high.x, high.y}};
    }
    return four;
  }
  template <class S>
  static __device__ void store_raw(S* to, const Four<S>& four) {
    if constexpr (sizeof(S) == 2) {
      __stcg(reinterpret_cast<uint2*>(to), make_uint2(four.v[0].bits | static_cast<unsigned>(four.v[1].bits) << 16,
                                                      four.v[2].bits | static_cast<unsigned>(four.v[3].bits) << 16));
    } else if constexpr (sizeof(S) == 4) {
      __stcg(reinterpret_cast<float4*>(to), make_float4(four.v[0], four.v[1], four.v[2], four.v[3]));
    } else {
      __stcg(reinterpret_cast<double2*>(to), make_double2(four.v[0], four.v[1]));
      __stcg(reinterpret_cast<double2*>(to) + 1, make_double2(four.v[2], four.v[3]));
    }
  }

  int lane_;
};

#endif  // __CUDACC__

#if !defined(__CUDACC_RTC__)

/// One T for each lane of the twin.
template <class T>
struct Lanes {
  T v[kWarp];

  Lanes() = default;
  Lanes(T all) {  // NOLINT: a number stands for one that all lanes have
    for (T& x : v) x = all;
  }
  template <class U>
  explicit Lanes(const Lanes<U>& other) {
    for (int l = 0; l < kWarp; ++l) v[l] = static_cast<T>(other.v[l]);
  }
  template <class F>
  static Lanes each(F f) {
    Lanes out;
    for (int l = 0; l < kWarp; ++l) out.v[l] = f(l);
    return out;
  }

#define WARPFACTOR_LANES_OPERATOR(op, Result)                            \
  friend Lanes<Result> operator op(const Lanes& a, const Lanes& b) {     \
    return Lanes<Result>::each([&](int l) { return a.v[l] op b.v[l]; }); \
  }
  WARPFACTOR_LANES_OPERATOR(+, T)
  WARPFACTOR_LANES_OPERATOR(-, T)
  WARPFACTOR_LANES_OPERATOR(*, T)
  WARPFACTOR_LANES_OPERATOR(/, T)
  WARPFACTOR_LANES_OPERATOR(%, T)
  WARPFACTOR_LANES_OPERATOR(<, bool)
  WARPFACTOR_LANES_OPERATOR(>, bool)
  WARPFACTOR_LANES_OPERATOR(<=, bool)
  WARPFACTOR_LANES_OPERATOR(>=, bool)
  WARPFACTOR_LANES_OPERATOR(==, bool)
#undef WARPFACTOR_LANES_OPERATOR
  friend Lanes operator&(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return static_cast<T>(a.v[l] & b.v[l]); });
  }
  friend Lanes operator|(const Lanes& a, const Lanes& b) {
    return each([&](int l) { return static_cast<T>(a.v[l] | b.v[l]); });
  }
  friend Lanes<bool> operator!(const Lanes& a) {
    return Lanes<bool>::each([&](int l) { return !a.v[l]; });
  }
  friend Lanes operator-(const Lanes& a) {
    return each([&](int l) { return -a.v[l]; });
  }

  // What update_rule.hpp asks of a pack.
  friend Lanes at_most(const Lanes& a, const Lanes& limit) {
    return each([&](int l) { return at_most(a.v[l], limit.v[l]); });
  }
  friend Lanes at_least(const Lanes& a, const Lanes& limit) {
    return each([&](int l) { return at_least(a.v[l], limit.v[l]); });
  }
  friend Lanes sign(const Lanes& a) {
    return each([&](int l) { return sign(a.v[l]); });
  }
  friend Lanes root(const Lanes& a) {
    return each([&](int l) { return root(a.v[l]); });
  }
  friend Lanes exponential(const Lanes& a) {
    return each([&](int l) { return exponential(a.v[l]); });
  }
  friend Lanes logarithm(const Lanes& a) {
    return each([&](int l) { return logarithm(a.v[l]); });
  }
  friend Lanes logarithm_1p(const Lanes& a) {
    return each([&](int l) { return logarithm_1p(a.v[l]); });
  }
};

/// DeviceWarp's counterpart on the host: one of `count` warps.
class HostWarp {
 public:
  template <class T>
  using Of = Lanes<T>;
  using Mask = Lanes<bool>;

  HostWarp(std::int64_t number, std::int64_t count) : number_(number), count_(count) {}
  static Lanes<int> lane() {
    return Lanes<int>::each([](int l) { return l; });
  }
  [[nodiscard]] std::int64_t number() const { return number_; }
  [[nodiscard]] std::int64_t count() const { return count_; }

  static bool any(const Mask& here) { return ballot(here) != 0; }
  static std::uint32_t ballot(const Mask& here) {
    std::uint32_t bits = 0;
    for (int l = 0; l < kWarp; ++l) bits |= static_cast<std::uint32_t>(here.v[l]) << l;
    return bits;
  }
  template <class T>
  static Lanes<T> select(const Mask& mask, const Lanes<T>& yes, const Lanes<T>& no) {
    return Lanes<T>::each([&](int l) { return mask.v[l] ? yes.v[l] : no.v[l]; });
  }
  template <int kLanes, class T>
  static Lanes<T> sum(Lanes<T> x) {
    for (int m = kLanes / 2; m > 0; m /= 2) {
      x = Lanes<T>::each([&](int l) { return x.v[l] + x.v[l ^ m]; });
    }
    return x;
  }
  template <class T>
  static T from_lane(const Lanes<T>& x, int from) {
    return x.v[from];
  }
  template <class T>
  static Lanes<T> from_previous(const Lanes<T>& x, const Lanes<T>& first) {
    return Lanes<T>::each([&](int l) { return l == 0 ? first.v[0] : x.v[l - 1]; });
  }

  template <class T>
  static Lanes<T> load(const T* from, const Lanes<std::int64_t>& at, const Mask& in) {
    return Lanes<T>::each([&](int l) { return in.v[l] ? from[at.v[l]] : T(); });
  }
  template <class T>
  static Lanes<T> load_constant(const T* from, const Lanes<std::int64_t>& at, const Mask& in) {
    return load(from, at, in);
  }
  static void load_entry(const Entry* from, const Lanes<std::int64_t>& at, const Mask& in, Lanes<std::int32_t>& other,
                         Lanes<float>& value) {
    for (int l = 0; l < kWarp; ++l) {
      const Entry entry = in.v[l] ? from[at.v[l]] : Entry{0, 0};
      other.v[l] = entry.other;
      value.v[l] = entry.value;
    }
  }
  template <class T>
  static void store(T* to, const Lanes<std::int64_t>& at, const Lanes<T>& x, const Mask& in) {
    for (int l = 0; l < kWarp; ++l) {
      if (in.v[l]) to[at.v[l]] = x.v[l];
    }
  }
  template <bool kConstant = false, class S, class A>
  static void load4(const S* from, const Lanes<std::int64_t>& at, const Mask& in, Lanes<A> (&to)[4]) {
    for (int l = 0; l < kWarp; ++l) {
      for (int j = 0; in.v[l] && j < 4; ++j) to[j].v[l] = static_cast<A>(to_number(from[at.v[l] + j]));
    }
  }
  template <class S, class A>
  static void store4(S* to, const Lanes<std::int64_t>& at, const Lanes<A> (&x)[4], const Mask& in) {
    for (int l = 0; l < kWarp; ++l) {
      for (int j = 0; in.v[l] && j < 4; ++j) to[at.v[l] + j] = Stored<S, A>::of(x[j].v[l]);
    }
  }
  template <int kLanes>
  static Lanes<std::int64_t> next(std::uint32_t* counter, const Mask& wanted) {
    Lanes<std::int64_t> number(0);
    for (int l = 0; l < kWarp; ++l) {
      if (wanted.v[l]) number.v[l] = l % kLanes == 0 ? static_cast<std::int64_t>((*counter)++) : number.v[l - 1];
    }
    return number;
  }
  static void sync() {}

 private:
  std::int64_t number_, count_;
};

#endif  // !__CUDACC_RTC__

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
