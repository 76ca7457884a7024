// SPDX-License-Identifier: Apache-2.0
// The loss and the step, written once: every CPU instruction set includes this header, and nvcc can.
//
// WARPFACTOR_RULE_NAMESPACE keeps the copies apart. Each instruction set compiles these inline functions for itself;
// under one shared name the linker would keep a single copy, perhaps the one with instructions that the processor
// lacks.
#pragma once

#if !defined(__GNUC__)
#include <math.h>  // not <cmath>, whose inline functions would be compiled here
#endif

#include "step_sizes.hpp"

#ifndef WARPFACTOR_RULE_NAMESPACE
#define WARPFACTOR_RULE_NAMESPACE rule
#endif

#if defined(__GNUC__) || defined(__clang__)
#define WARPFACTOR_INLINE __attribute__((always_inline)) inline
#define WARPFACTOR_NOINLINE __attribute__((noinline))
#else
#define WARPFACTOR_INLINE inline
#define WARPFACTOR_NOINLINE
#endif
#if defined(__CUDACC__)
#define WARPFACTOR_HD __host__ __device__
#else
#define WARPFACTOR_HD
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

#if defined(__GNUC__) || defined(__clang__) || defined(__CUDACC__)
WARPFACTOR_HD WARPFACTOR_INLINE float root(float x) { return __builtin_sqrtf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double root(double x) { return __builtin_sqrt(x); }
#else
inline float root(float x) { return sqrtf(x); }
inline double root(double x) { return sqrt(x); }
#endif

/// A limit that a NaN passes.
template <class T>
WARPFACTOR_HD WARPFACTOR_INLINE T at_most(T x, T limit) {
  return x > limit ? limit : x;
}
template <class T>
WARPFACTOR_HD WARPFACTOR_INLINE T at_least(T x, T limit) {
  return x < limit ? limit : x;
}

/// l(r, x) = (r - x)^2 / 2 for a rating r and its prediction x.
struct SquaredLoss {
  /// What the training curve sums: (r - x)^2.
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE static V reported(const V& r, const V& x) {
    const V error = r - x;
    return error * error;
  }
  /// dl/dx
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE static V slope(const V& r, const V& x) {
    return x - r;
  }
};

/// How strongly ratings move their rows. V is the type of a number that each rating has of its own: T for one rating, a
/// pack of T for several. R is V where rates differ from rating to rating, T where all have the same.
template <class V, class R>
struct Step {
  V slope;         ///< rate * dl/dx
  R keep_factors;  ///< 1 - rate * reg
  R keep_biases;   ///< 1 - rate * reg_bias
};

/// dl/dx, capped, because one step of a large multiple of the usual size sends the factors where no later step can
/// fetch them back from. A slope that is no number stays none.
template <class Loss, class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V capped_slope(const V& rating, const V& prediction, const StepSizes<T>& sizes) {
  return at_least(at_most(Loss::slope(rating, prediction), sizes.max_slope), -sizes.max_slope);
}

/// `rate` is eta * w: the weight w scales the whole term, penalty included, so weight 2 acts as the rating twice.
template <class V, class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE Step<V, R> make_step(const V& slope, const R& rate, const StepSizes<T>& sizes) {
  return {rate * slope, T(1) - sizes.reg * rate, T(1) - sizes.reg_bias * rate};
}

/// w <- w - rate * (slope * other + reg * w), for one factor (V = T) or a vector register of them; `slope` and `keep`
/// are those of a Step.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V stepped_factor(V w, V other, T slope, T keep) {
  return keep * w - slope * other;
}

/// b <- b - rate * (slope + reg_bias * b)
template <class V, class R>
WARPFACTOR_HD WARPFACTOR_INLINE V stepped_bias(const V& b, const Step<V, R>& step) {
  return step.keep_biases * b - step.slope;
}

/// Adagrad (Duchi, Hazan, Singer 2011) with one accumulator G per row, as in Chin, Zhuang, Juan and Lin 2015: a row's
/// rate is eta * w / sqrt(1 + G), and G grows by the mean square of the elements of w * gradient.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V adagrad_scale(const V& squares, T one = T(1)) {
  return one / root(one + squares);
}

/// The gradient by a factor.
template <class V, class S, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V gradient(V w, V other, S slope, T reg) {
  return slope * other + reg * w;
}

/// The gradient by a bias.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V bias_gradient(const V& b, const V& slope, T reg_bias) {
  return slope + reg_bias * b;
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
