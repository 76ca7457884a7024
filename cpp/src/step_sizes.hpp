// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace warpfactor {

/// What an epoch's steps have in common. Plain data, shared by every instruction set and device.
template <class T>
struct StepSizes {
  T learning_rate;
  T reg, reg_bias;
  T max_weight;   ///< weights count up to this
  T max_slope;    ///< the loss's slope counts up to this, either way
  T per_element;  ///< adagrad: 1 / how many parameters a row has, its bias counted
};

}  // namespace warpfactor
