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

/// A quad as it is stored, in registers.
template <class S>
struct RawQuad {
  float4 v;
};
template <>
struct RawQuad<Half> {
  uint2 v;
};
template <>
struct RawQuad<double> {
  double2 low, high;
};

/// Other multiprocessors write to the same memory, and first-level caches do not see each other: reads and writes
/// bypass them.
class DeviceWarp {
 public:
  template <class T>
  using Of = T;
  using Mask = bool;
  template <class S>
  using Raw = RawQuad<S>;

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
  template <class T>
  static __device__ T load_at(const T* from, bool in) {
    return in ? __ldcg(from) : T();
  }
  template <class T>
  static __device__ void store_at(T* to, T x, bool in) {
    if (in) __stcg(to, x);
  }
  /// Where number `first` of a row lies, in rows of `stride` numbers: one wide product and sum.
  template <class S>
  static __device__ S* place(S* rows, std::int32_t row, std::int32_t stride, std::int32_t first) {
    const auto bytes =
        static_cast<std::int64_t>(row) * static_cast<std::int64_t>(stride * static_cast<std::int32_t>(sizeof(S)));
    return reinterpret_cast<S*>(reinterpret_cast<unsigned long long>(rows + first) +
                                static_cast<unsigned long long>(bytes));
  }
  /// `raw` stays as it is if a lane is not `in`. kConstant: as load_constant.
  template <bool kConstant = false, class S>
  static __device__ void load_raw(const S* from, bool in, RawQuad<S>& raw) {
    if (in) raw = read<kConstant>(from);
  }
  /// `to` stays as it is if a lane is not `in`.
  template <class S, class A>
  static __device__ void unpack(const RawQuad<S>& raw, bool in, A (&to)[4]) {
    if (in) numbers_of(raw, to);
  }
  template <bool kConstant = false, class S, class A>
  static __device__ void load4(const S* from, std::int64_t at, bool in, A (&to)[4]) {
    if (in) numbers_of(read<kConstant>(from + at), to);
  }
  template <class S, class A>
  static __device__ void store4(S* to, std::int64_t at, const A (&x)[4], bool in) {
    store4(to + at, x, in);
  }
  template <class S, class A>
  static __device__ void store4(S* to, const A (&x)[4], bool in) {
    const RawQuad<S> raw = packed(to, x);  // by all lanes, so that the write alone depends on the mask
    if (in) write(to, raw);
  }
  /// The number of lane `from` of each tile.
  template <int kLanes, class T>
  static __device__ T of_tile(T x, std::int32_t from) {
    return __shfl_sync(kAll, x, from, kLanes);
  }
  /// Reads what other tiles release; reads and writes that follow come after it.
  static __device__ std::uint32_t acquire(const std::uint32_t* from, std::int64_t at, bool in) {
    std::uint32_t x = 0;
    if (in) asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(from + at) : "memory");
    return x;
  }
  /// Writes a number for other tiles, after all that the lanes wrote before their last sync().
  static __device__ void release(std::uint32_t* to, std::int64_t at, std::uint32_t x, bool in) {
    if (!in) return;
    __threadfence();
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to + at), "r"(x) : "memory");
  }
  /// Leaves the multiprocessor to other warps for a moment.
  static __device__ void pause() { __nanosleep(100); }
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

  template <bool kConstant, class Word>
  static __device__ Word read_word(const void* from) {
    if constexpr (kConstant) {
      return __ldg(static_cast<const Word*>(from));
    } else {
      return __ldcg(static_cast<const Word*>(from));
    }
  }
  template <bool kConstant, class S>
  static __device__ RawQuad<S> read(const S* from) {
    if constexpr (sizeof(S) == 2) {
      return {read_word<kConstant, uint2>(from)};
    } else if constexpr (sizeof(S) == 4) {
      return {read_word<kConstant, float4>(from)};
    } else {
      return {read_word<kConstant, double2>(from), read_word<kConstant, double2>(from + 2)};
    }
  }
  // As PTX, see half.hpp. Two halves lie side by side, the first in the low bits.
  static __device__ void two_numbers(unsigned halves, float& first, float& second) {
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
        : "=f"(first), "=f"(second)
        : "r"(halves));
  }
  static __device__ unsigned two_halves(float first, float second) {
    unsigned halves;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(second), "f"(first));
    return halves;
  }
  static __device__ void numbers_of(const RawQuad<Half>& raw, float (&to)[4]) {
    two_numbers(raw.v.x, to[0], to[1]);
    two_numbers(raw.v.y, to[2], to[3]);
  }
  static __device__ void numbers_of(const RawQuad<float>& raw, float (&to)[4]) {
    to[0] = raw.v.x;
    to[1] = raw.v.y;
    to[2] = raw.v.z;
    to[3] = raw.v.w;
  }
  static __device__ void numbers_of(const RawQuad<double>& raw, double (&to)[4]) {
    to[0] = raw.low.x;
    to[1] = raw.low.y;
    to[2] = raw.high.x;
    to[3] = raw.high.y;
  }
  static __device__ RawQuad<Half> packed(const Half*, const float (&x)[4]) {
    return {make_uint2(two_halves(x[0], x[1]), two_halves(x[2], x[3]))};
  }
  static __device__ RawQuad<float> packed(const float*, const float (&x)[4]) {
    return {make_float4(x[0], x[1], x[2], x[3])};
  }
  static __device__ RawQuad<double> packed(const double*, const double (&x)[4]) {
    return {make_double2(x[0], x[1]), make_double2(x[2], x[3])};
  }
  static __device__ void write(Half* to, const RawQuad<Half>& raw) { __stcg(reinterpret_cast<uint2*>(to), raw.v); }
  static __device__ void write(float* to, const RawQuad<float>& raw) { __stcg(reinterpret_cast<float4*>(to), raw.v); }
  static __device__ void write(double* to, const RawQuad<double>& raw) {
    __stcg(reinterpret_cast<double2*>(to), raw.low);
    __stcg(reinterpret_cast<double2*>(to) + 1, raw.high);
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

/// Places further on; none stays none.
template <class T>
Lanes<T*> operator+(const Lanes<T*>& places, int n) {
  return Lanes<T*>::each([&](int l) { return places.v[l] == nullptr ? nullptr : places.v[l] + n; });
}

/// RawQuad's counterpart on the host.
template <class S>
struct RawLanes {
  Lanes<S> v[4]{};
};

/// DeviceWarp's counterpart on the host: one of `count` warps.
class HostWarp {
 public:
  template <class T>
  using Of = Lanes<T>;
  using Mask = Lanes<bool>;
  template <class S>
  using Raw = RawLanes<S>;

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
  template <class S>
  static Lanes<S*> place(S* rows, const Lanes<std::int32_t>& row, std::int32_t stride,
                         const Lanes<std::int32_t>& first) {
    return Lanes<S*>::each([&](int l) -> S* {
      // A row that is none is not read.
      return row.v[l] < 0 ? nullptr : rows + static_cast<std::int64_t>(row.v[l]) * stride + first.v[l];
    });
  }
  template <bool kConstant = false, class S>
  static void load_raw(const Lanes<const S*>& from, const Mask& in, RawLanes<S>& raw) {
    for (int l = 0; l < kWarp; ++l) {
      for (int j = 0; in.v[l] && j < 4; ++j) raw.v[j].v[l] = from.v[l][j];
    }
  }
  template <class T>
  static Lanes<T> load_at(const Lanes<T*>& from, const Mask& in) {
    return Lanes<T>::each([&](int l) { return in.v[l] ? *from.v[l] : T(); });
  }
  template <class T>
  static void store_at(const Lanes<T*>& to, const Lanes<T>& x, const Mask& in) {
    for (int l = 0; l < kWarp; ++l) {
      if (in.v[l]) *to.v[l] = x.v[l];
    }
  }
  template <class S, class A>
  static void store4(const Lanes<S*>& to, const Lanes<A> (&x)[4], const Mask& in) {
    for (int l = 0; l < kWarp; ++l) {
      for (int j = 0; in.v[l] && j < 4; ++j) to.v[l][j] = Stored<S, A>::of(x[j].v[l]);
    }
  }
  template <class S, class A>
  static void unpack(const RawLanes<S>& raw, const Mask& in, Lanes<A> (&to)[4]) {
    for (int l = 0; l < kWarp; ++l) {
      for (int j = 0; in.v[l] && j < 4; ++j) to[j].v[l] = static_cast<A>(to_number(raw.v[j].v[l]));
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
  template <int kLanes, class T>
  static Lanes<T> of_tile(const Lanes<T>& x, const Lanes<std::int32_t>& from) {
    return Lanes<T>::each([&](int l) { return x.v[l / kLanes * kLanes + (from.v[l] & (kLanes - 1))]; });
  }
  static Lanes<std::uint32_t> acquire(const std::uint32_t* from, const Lanes<std::int64_t>& at, const Mask& in) {
    return load(from, at, in);
  }
  static void release(std::uint32_t* to, const Lanes<std::int64_t>& at, const Lanes<std::uint32_t>& x, const Mask& in) {
    store(to, at, x, in);
  }
  static void pause() {}
  static void sync() {}

 private:
  std::int64_t number_, count_;
};

#endif  // !__CUDACC_RTC__

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
