// SPDX-License-Identifier: Apache-2.0
// The loss and the step, written once: every CPU instruction set includes this header, and nvcc can.
//
// WARPFACTOR_RULE_NAMESPACE keeps the copies apart. Each instruction set compiles these inline functions for itself;
// under one shared name the linker would keep a single copy, perhaps the one with instructions that the processor
// lacks.
#pragma once

#include "step_sizes.hpp"

#ifndef WARPFACTOR_RULE_NAMESPACE
#define WARPFACTOR_RULE_NAMESPACE rule
#endif

#if defined(__CUDACC__)
#define WARPFACTOR_HD __host__ __device__
#else
#define WARPFACTOR_HD
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

/// l(r, x) = (r - x)^2 / 2 for a rating r and its prediction x.
struct SquaredLoss {
  /// What the training curve sums: (r - x)^2.
  template <class T>
  WARPFACTOR_HD static inline T reported(T r, T x) {
    const T error = r - x;
    return error * error;
  }
  /// dl/dx
  template <class T>
  WARPFACTOR_HD static inline T slope(T r, T x) {
    return x - r;
  }
};

/// How strongly one rating moves its two rows.
template <class T>
struct Step {
  T slope;         ///< eta * w * dl/dx
  T keep_factors;  ///< 1 - eta * w * reg
  T keep_biases;   ///< 1 - eta * w * reg_bias
};

/// The step of a rating of weight w: w scales the whole term, penalty included, so weight 2 acts as the rating twice.
/// Slope and weight are capped, because one step of a large multiple of the usual size sends the factors where no later
/// step can fetch them back from. A slope that is no number stays none.
template <class Loss, class T>
WARPFACTOR_HD inline Step<T> make_step(T rating, T prediction, T weight, const StepSizes<T>& sizes) {
  const T rate = sizes.learning_rate * (weight > sizes.max_weight ? sizes.max_weight : weight);
  T slope = Loss::slope(rating, prediction);
  slope = slope > sizes.max_slope ? sizes.max_slope : slope;
  slope = slope < -sizes.max_slope ? -sizes.max_slope : slope;
  return {rate * slope, T(1) - rate * sizes.reg, T(1) - rate * sizes.reg_bias};
}

/// w <- w - eta * (slope * other + reg * w), for one factor (V = T) or a vector register of them.
template <class V, class T>
WARPFACTOR_HD inline V stepped_factor(const V& w, const V& other, const Step<T>& step) {
  return step.keep_factors * w - step.slope * other;
}

/// b <- b - eta * (slope + reg_bias * b)
template <class T>
WARPFACTOR_HD inline T stepped_bias(T b, const Step<T>& step) {
  return step.keep_biases * b - step.slope;
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
