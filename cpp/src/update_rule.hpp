// SPDX-License-Identifier: Apache-2.0
// The losses and the step, written once: every CPU instruction set includes this header, and the device.
//
// WARPFACTOR_RULE_NAMESPACE keeps the copies apart. Each instruction set compiles these inline functions for itself;
// under one shared name the linker would keep a single copy, perhaps the one with instructions that the processor
// lacks.
#pragma once

#if !defined(__GNUC__) && !defined(__CUDACC_RTC__)
#include <math.h>  // not <cmath>, whose inline functions would be compiled here
#endif

#include "step_sizes.hpp"

#ifndef WARPFACTOR_RULE_NAMESPACE
#define WARPFACTOR_RULE_NAMESPACE rule
#endif

#if defined(__GNUC__) || defined(__clang__)
#define WARPFACTOR_INLINE __attribute__((always_inline)) inline
#define WARPFACTOR_INLINE_LAMBDA __attribute__((always_inline))
#define WARPFACTOR_NOINLINE __attribute__((noinline))
#else
#define WARPFACTOR_INLINE inline
#define WARPFACTOR_INLINE_LAMBDA
#define WARPFACTOR_NOINLINE
#endif
#if defined(__CUDACC__)
#define WARPFACTOR_HD __host__ __device__
#else
#define WARPFACTOR_HD
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

// CUDA's run-time compiler knows the C functions by itself, and no builtin ones.
#if (defined(__GNUC__) || defined(__clang__) || defined(__CUDACC__)) && !defined(__CUDACC_RTC__)
WARPFACTOR_HD WARPFACTOR_INLINE float root(float x) { return __builtin_sqrtf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double root(double x) { return __builtin_sqrt(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float exponential(float x) { return __builtin_expf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double exponential(double x) { return __builtin_exp(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float logarithm(float x) { return __builtin_logf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double logarithm(double x) { return __builtin_log(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float logarithm_1p(float x) { return __builtin_log1pf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double logarithm_1p(double x) { return __builtin_log1p(x); }
#else
WARPFACTOR_HD WARPFACTOR_INLINE float root(float x) { return sqrtf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double root(double x) { return sqrt(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float exponential(float x) { return expf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double exponential(double x) { return exp(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float logarithm(float x) { return logf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double logarithm(double x) { return log(x); }
WARPFACTOR_HD WARPFACTOR_INLINE float logarithm_1p(float x) { return log1pf(x); }
WARPFACTOR_HD WARPFACTOR_INLINE double logarithm_1p(double x) { return log1p(x); }
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
/// -1, 0 or 1, and NaN of NaN.
template <class T>
WARPFACTOR_HD WARPFACTOR_INLINE T sign(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
}

// The losses: l(r, x) of a rating r and its score x. V is T for one rating, a pack of T for several. `reported` is what
// the training curve sums, `slope` is dl/dx.

/// l = (r - x)^2 / 2. Reported without the half, so that its mean is the squared RMSE.
struct SquaredLoss {
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE static V reported(const V& r, const V& x) {
    const V error = r - x;
    return error * error;
  }
  /// x - r
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE static V slope(const V& r, const V& x) {
    return x - r;
  }
};

/// l = |r - x|
template <class T>
struct AbsoluteLoss {
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V reported(const V& r, const V& x) const {
    const V error = x - r;
    return at_least(error, T(0)) - at_most(error, T(0));
  }
  /// sign(x - r)
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V slope(const V& r, const V& x) const {
    return sign(x - r);
  }
};

/// l = e^2 / 2 where |e| = |x - r| <= delta, delta (|e| - delta / 2) beyond: with c, the e that is clipped to
/// -delta .. delta, that is c (e - c / 2).
template <class T>
struct HuberLoss {
  T delta;

  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V reported(const V& r, const V& x) const {
    const V clipped = slope(r, x);
    return clipped * ((x - r) - T(0.5) * clipped);
  }
  /// c
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V slope(const V& r, const V& x) const {
    const V error = x - r;
    return at_least(at_most(error, delta), -delta);
  }
};

/// l = log(1 + exp(-m)) with the margin m = r x, r = -1 or 1.
template <class T>
struct LogisticLoss {
  /// max(0, -m) + log(1 + exp(-|m|)), which overflows for no m.
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V reported(const V& r, const V& x) const {
    const V margin = r * x, wrong = at_most(margin, T(0));
    return logarithm_1p(exponential(wrong - at_least(margin, T(0)))) - wrong;
  }
  /// -r / (1 + exp(m))
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V slope(const V& r, const V& x) const {
    return (T(0) - r) / (T(1) + exponential(r * x));
  }
  /// The expected label: 2 / (1 + exp(-x)) - 1.
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V answer(const V& x) const {
    return T(-1) + T(2) / (T(1) + exponential(T(0) - x));
  }
};

/// l = max(0, 1 - r x)^2 / 2, r = -1 or 1.
template <class T>
struct SquaredHingeLoss {
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V reported(const V& r, const V& x) const {
    const V lacking = at_least(T(1) - r * x, T(0));
    return T(0.5) * (lacking * lacking);
  }
  /// -r max(0, 1 - r x)
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V slope(const V& r, const V& x) const {
    return (T(0) - r) * at_least(T(1) - r * x, T(0));
  }
};

/// l = r log(r / x) - r + x, r >= 0, with 0 log 0 = 0. Below `floor`, where the slope would grow without limit, l goes
/// on along its tangent.
template <class T>
struct PoissonLoss {
  T floor;

  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V reported(const V& r, const V& x) const {
    const V touching = at_least(x, floor), ratio = r / touching;
    // The smallest ratio whose logarithm is taken makes a zero of r * log(r) for r = 0 and changes nothing else.
    return r * logarithm(at_least(ratio, T(1e-30))) - ratio * (x - touching) - r + x;
  }
  /// 1 - r / x
  template <class V>
  WARPFACTOR_HD WARPFACTOR_INLINE V slope(const V& r, const V& x) const {
    return T(1) - r / at_least(x, floor);
  }
};

/// What a rating's loss comes to.
template <class V>
struct LossTerms {
  V reported;
  V slope;
  V square;  ///< the squared error of the rating that the score predicts
};

template <class L, class V>
WARPFACTOR_HD WARPFACTOR_INLINE LossTerms<V> terms_of(const L& loss, const V& r, const V& x, const V& answer) {
  const V error = r - answer;
  return {loss.reported(r, x), loss.slope(r, x), error * error};
}

/// Of any loss; the score x includes shape.offset.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE LossTerms<V> loss_terms(const V& r, const V& x, const LossShape<T>& shape) {
  switch (shape.loss) {
    case Loss::squared:
    case Loss::custom: break;  // a custom loss is not asked for here: it comes for eight ratings at a time
    case Loss::absolute: return terms_of(AbsoluteLoss<T>{}, r, x, x);
    case Loss::huber: return terms_of(HuberLoss<T>{shape.delta}, r, x, x);
    case Loss::logistic: return terms_of(LogisticLoss<T>{}, r, x, LogisticLoss<T>{}.answer(x));
    case Loss::squared_hinge: return terms_of(SquaredHingeLoss<T>{}, r, x, shape.answer_shift + shape.answer_scale * x);
    case Loss::poisson: return terms_of(PoissonLoss<T>{shape.floor}, r, x, x);
  }
  return terms_of(SquaredLoss{}, r, x, x);
}

/// Of a custom loss, which sees answers and not scores: `function` takes ratings and answers and sets their losses
/// and slopes.
template <class V, class T, class Function>
WARPFACTOR_HD WARPFACTOR_INLINE LossTerms<V> custom_terms(const V& r, const V& x, const LossShape<T>& shape,
                                                          const Function& function) {
  const V answer = shape.answer_shift + shape.answer_scale * x, error = r - answer;
  LossTerms<V> terms;
  function(r, answer, terms.reported, terms.slope);
  terms.slope = shape.slope_scale * terms.slope;
  terms.square = error * error;
  return terms;
}

template <StepRule kOf>
struct Rule {
  static constexpr StepRule kRule = kOf;
};
/// Calls f with a Rule, so that the rule is a constant in it.
template <class Function>
WARPFACTOR_HD WARPFACTOR_INLINE auto with_rule(StepRule rule, const Function& f) {
  switch (rule) {
    case StepRule::plain: break;
    case StepRule::momentum: return f(Rule<StepRule::momentum>());
    case StepRule::adagrad_row: return f(Rule<StepRule::adagrad_row>());
    case StepRule::adagrad_element: return f(Rule<StepRule::adagrad_element>());
    case StepRule::adam: return f(Rule<StepRule::adam>());
  }
  return f(Rule<StepRule::plain>());
}

/// Whether steps are those of plain SGD with an L2 penalty, for which there are shorter kernels. `proximal`: as in
/// StepSizes; `penalty`: whether it is a function that the caller gives.
WARPFACTOR_HD WARPFACTOR_INLINE bool is_plain(StepRule rule, bool proximal, bool penalty) {
  return rule == StepRule::plain && !proximal && !penalty;
}
template <class T>
WARPFACTOR_HD WARPFACTOR_INLINE bool is_plain(const StepSizes<T>& sizes) {
  return is_plain(sizes.rule, sizes.proximal, sizes.penalty != nullptr);
}

/// How strongly ratings move their rows. V is the type of a number that each rating has of its own: T for one rating, a
/// pack of T for several. R is V where rates differ from rating to rating, T where all have the same.
template <class V, class R>
struct Step {
  V scaled_slope;         ///< rate * dl/dx
  Sides<R> keep_factors;  ///< 1 - rate * reg
  Sides<R> keep_biases;   ///< 1 - rate * reg_bias
};

/// A slope, capped, because one step of a large multiple of the usual size sends the factors where no later step can
/// fetch them back from. A slope that is no number stays none.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V capped(const V& slope, T max_slope) {
  return at_least(at_most(slope, max_slope), -max_slope);
}
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V capped(const V& slope, const StepSizes<T>& sizes) {
  return capped(slope, sizes.max_slope);
}

/// What a row's pull of this strength comes to in a step whose ratings have this weight.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V limited_pull(const V& strength, const StepSizes<T>& sizes) {
  return at_most(strength, sizes.max_pull);
}

/// `rate` is eta * w: the weight w scales the whole term, penalty included, so weight 2 acts as the rating twice.
template <class V, class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE Step<V, R> make_step(const V& slope, const R& rate, const StepSizes<T>& sizes) {
  return {rate * slope,
          {T(1) - sizes.reg.user * rate, T(1) - sizes.reg.item * rate},
          {T(1) - sizes.reg_bias.user * rate, T(1) - sizes.reg_bias.item * rate}};
}

/// w <- w - rate * (slope * other + reg * w), for one factor (V = T) or a vector register of them; `scaled_slope` and
/// `keep` are those of a Step.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V stepped_factor(V w, V other, T scaled_slope, T keep) {
  return keep * w - scaled_slope * other;
}

/// b <- b - rate * (slope + reg_bias * b); `scaled_slope` and `keep` are those of a Step.
template <class V, class R>
WARPFACTOR_HD WARPFACTOR_INLINE V stepped_bias(const V& b, const V& scaled_slope, const R& keep) {
  return keep * b - scaled_slope;
}

/// After the step, where there is an L1 penalty or a lower limit: the proximal step of rate * l1 * |w|, which is the
/// soft threshold (exact zeros come of it), then the projection onto w >= lowest. `threshold` is rate * l1.
template <class V, class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V proximal(const V& w, const R& threshold, T lowest) {
  return at_least(at_least(w - threshold, T(0)) + at_most(w + threshold, T(0)), lowest);
}

/// The gradient by a factor, of one rating, or by a vector of factors.
template <class V, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V gradient(const V& pull, const V& other, T slope, T reg) {
  return slope * other + reg * pull;
}

/// What the steps of one row have in common. T is a number, or a pack with one for each of several rows.
template <class T>
struct RowRate {
  T rate;                 ///< of the row
  T l1_factors, l1_bias;  ///< times the weight of the step's ratings
  T unbias_1, unbias_2;   ///< adam: 1 / a_1 and 1 / sqrt(a_2), with a: what an average of ones, one a step, comes to
};

/// Adagrad (Duchi, Hazan, Singer 2011): what a rate is multiplied by after squared gradients that add up to `squares`.
/// With one such sum per row, as in Chin, Zhuang, Juan and Lin 2015, it grows by the mean square of the row's gradient.
template <class T, class V>
WARPFACTOR_HD WARPFACTOR_INLINE V adagrad_scale(const V& squares) {
  return T(1) / root(T(1) + squares);
}

/// The rate of a row's next step. `numbers`: what the row remembers as a whole, kRowNumbers of them; nullptr where the
/// rule needs none. `weight`: how often the penalty counts.
template <StepRule kRule, class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE RowRate<R> row_rate(R* numbers, R weight, T l1_factors, T l1_bias,
                                                    const StepSizes<T>& sizes) {
  RowRate<R> row{R(sizes.learning_rate), weight * l1_factors, weight * l1_bias, R(T(1)), R(T(1))};
  if constexpr (kRule == StepRule::adagrad_row) {
    row.rate = row.rate * adagrad_scale<T>(numbers[0]);
  } else if constexpr (kRule == StepRule::adam) {
    // 1 - beta^t, without the cancellation and without a power.
    numbers[0] = sizes.beta_1 * numbers[0] + sizes.rest_1;
    numbers[1] = sizes.beta_2 * numbers[1] + sizes.rest_2;
    row.unbias_1 = T(1) / numbers[0];
    row.unbias_2 = T(1) / root(numbers[1]);
  }
  return row;
}

/// adagrad_row's sum after a step whose gradient has elements with this sum of squares.
template <class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE R adagrad_sum(R sum, R squares, const StepSizes<T>& sizes) {
  return sum + sizes.per_element * squares;
}

/// A parameter after a step along its gradient, or a vector of them. `first` and `second` are what the optimizer
/// remembers of it: momentum, the sum of the gradients, each older one weighing less (Polyak 1964); adagrad_element,
/// the sum of their squares; adam (Kingma and Ba 2015), the moving averages of the gradients and of their squares.
template <StepRule kRule, class V, class R, class T>
WARPFACTOR_HD WARPFACTOR_INLINE V stepped(const V& w, const V& gradient, V& first, V& second, const RowRate<R>& row,
                                          R l1, const StepSizes<T>& sizes) {
  if constexpr (kRule == StepRule::adagrad_element) {
    const V rate = row.rate * adagrad_scale<T>(first), moved = w - rate * gradient;
    first = first + gradient * gradient;
    return sizes.proximal ? proximal(moved, l1 * rate, sizes.lowest) : moved;
  } else if constexpr (kRule == StepRule::adam) {
    first = sizes.beta_1 * first + sizes.rest_1 * gradient;
    second = sizes.beta_2 * second + sizes.rest_2 * (gradient * gradient);
    const V rate = row.rate / (sizes.epsilon + row.unbias_2 * root(second)), moved = w - rate * (row.unbias_1 * first);
    // Where the loss has hardly a slope, a rate without limit would make L1 the end of any parameter in one step.
    return sizes.proximal ? proximal(moved, at_most(l1 * rate, row.rate), sizes.lowest) : moved;
  } else {
    if constexpr (kRule == StepRule::momentum) first = sizes.momentum * first + gradient;
    const V moved = w - row.rate * (kRule == StepRule::momentum ? first : gradient);
    return sizes.proximal ? proximal(moved, row.rate * l1, sizes.lowest) : moved;
  }
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
