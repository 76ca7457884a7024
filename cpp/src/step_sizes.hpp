// SPDX-License-Identifier: Apache-2.0
// Plain data, shared by every instruction set and device.
#pragma once

#include "fixed_width.hpp"  // first, see loss.hpp

#include "warpfactor/loss.hpp"

namespace warpfactor {

/// A loss with its constants. Ratings and scores are in the units of training: standardized, labels as -1 and 1, counts
/// divided by their mean. A custom loss sees ratings as given, and predictions.
template <class T>
struct LossShape {
  Loss loss = Loss::squared;
  T offset = 0;  ///< mu, where it is part of the score and not subtracted from the ratings
  T delta = 1;   ///< huber
  T floor = 1;   ///< poisson: below this score the loss is a straight line
  /// squared_hinge, custom: a score x as a rating is scale * x + shift. With squared_hinge that is a label in the units
  /// of training.
  T answer_scale = 1, answer_shift = 0;
  T slope_scale = 1;                   ///< custom: makes its slopes those that training works with
  LossFunction<T> function = nullptr;  ///< custom
};

/// One number for the users' side and one for the items'.
template <class T>
struct Sides {
  T user, item;
};

/// How a gradient becomes a step: an Optimizer with its variant.
enum class StepRule { plain, momentum, adagrad_row, adagrad_element, adam };

/// What a pass over ratings can do. plain: SGD with L2 penalties that pull all rows alike; pulled: the same where rows
/// have pulls of their own; general: SGD with any penalty, pulls or none; the rest: a rule with any penalty. Each has
/// kernels of its own, so that it takes no more registers than it needs.
enum class PassKind { plain, pulled, general, momentum, adagrad_row, adagrad_element, adam };

/// The kind of a pass by a rule, where steps are plain (rule::is_plain) or not and rows have pulls of their own or not.
constexpr PassKind pass_kind(StepRule rule, bool plain, bool pulls) {
  switch (rule) {
    case StepRule::plain: break;
    case StepRule::momentum: return PassKind::momentum;
    case StepRule::adagrad_row: return PassKind::adagrad_row;
    case StepRule::adagrad_element: return PassKind::adagrad_element;
    case StepRule::adam: return PassKind::adam;
  }
  return !plain ? PassKind::general : pulls ? PassKind::pulled : PassKind::plain;
}

/// What a rule remembers: a number for each parameter, a second one, some for each row. See `stepped` and `row_rate`.
struct Remembered {
  bool first, second, row_numbers;
};
constexpr Remembered remembered_by(StepRule rule) {
  switch (rule) {
    case StepRule::plain: break;
    case StepRule::momentum: return {true, false, false};         // the velocity
    case StepRule::adagrad_row: return {false, false, true};      // the row's sum of squares
    case StepRule::adagrad_element: return {true, false, false};  // each element's
    case StepRule::adam: return {true, true, true};               // both averages, and of a row those of ones
  }
  return {false, false, false};
}
/// For kernels, in which nvcc lets no function of the host be called, not even by the compiler.
template <StepRule kRule>
inline constexpr Remembered kRemembered = remembered_by(kRule);

/// How strongly the penalties pull a row to its prior means in the step of a rating of weight 1: the strength per
/// rating, and the row's share of the strength per row. Sixteen floats side by side are a cache line.
template <class T>
struct RowPull {
  T factors, bias;
  T bias_mean;  ///< where the bias is pulled to
  T unused;
};

/// Of a step of prior means (PriorMeans): below this share of the product of the squares, z and d point the same way as
/// far as rounding tells.
inline constexpr double kIndependent = 1e-6;

/// What an epoch's steps have in common.
template <class T>
struct StepSizes {
  StepRule rule;
  T learning_rate;
  Sides<T> reg, reg_bias;      ///< of the L2 or the custom penalty
  PenaltyFunction<T> penalty;  ///< nullptr: L2
  T max_pull;                  ///< the pull of a row (see RowPull), times the weight of a step, counts up to this
  T max_weight;                ///< weights count up to this
  T max_slope;                 ///< the loss's slope counts up to this, either way
  T per_element;               ///< adagrad_row: 1 / how many parameters a row has, its bias counted
  T momentum;                  ///< momentum
  T beta_1, beta_2, epsilon;   ///< adam
  T rest_1, rest_2;            ///< adam: 1 - beta, which rounding would spoil if beta were T before
  LossShape<T> loss;
  bool proximal;         ///< whether any of the next three has an effect
  Sides<T> l1, l1_bias;  ///< L1
  T lowest;              ///< no factor or bias may be below this: 0, or minus infinity
};

}  // namespace warpfactor
