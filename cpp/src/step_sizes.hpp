// SPDX-License-Identifier: Apache-2.0
// Plain data, shared by every instruction set and device.
#pragma once

#include "warpfactor/loss.hpp"

namespace warpfactor {

/// A loss with its constants. Ratings and scores are in the units of training: standardized, labels as -1 and 1, counts
/// divided by their mean.
template <class T>
struct LossShape {
  Loss loss = Loss::squared;
  T offset = 0;                          ///< mu, where it is part of the score and not subtracted from the ratings
  T delta = 1;                           ///< huber
  T floor = 1;                           ///< poisson: below this score the loss is a straight line
  T answer_scale = 1, answer_shift = 0;  ///< squared_hinge: a score x as a label in training units is scale * x + shift
};

/// One number for the users' side and one for the items'.
template <class T>
struct Sides {
  T user, item;
};

/// What an epoch's steps have in common.
template <class T>
struct StepSizes {
  T learning_rate;
  Sides<T> reg, reg_bias;  ///< L2
  T max_weight;            ///< weights count up to this
  T max_slope;             ///< the loss's slope counts up to this, either way
  T per_element;           ///< adagrad: 1 / how many parameters a row has, its bias counted
  LossShape<T> loss;
  bool proximal;         ///< whether any of the next three has an effect
  Sides<T> l1, l1_bias;  ///< L1
  T lowest;              ///< no factor or bias may be below this: 0, or minus infinity
};

}  // namespace warpfactor
