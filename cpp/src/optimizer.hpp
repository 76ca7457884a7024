// SPDX-License-Identifier: Apache-2.0
// What the caller's parameters make of the steps of an epoch, for every device.
#pragma once

#include "standardize.hpp"
#include "step_sizes.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

StepRule step_rule(const TrainParams& params);

/// What a rule remembers: a number for each parameter, a second one, some for each row.
struct Remembered {
  bool first, second, row_numbers;
};
Remembered remembered_by(StepRule rule);

/// `n_factors`: as in Backend::run_epoch. `loss` and `penalty`: the caller's functions, nullptr where there are none.
template <class T>
StepSizes<T> step_sizes(const TrainParams& params, const Standardization& z, double learning_rate,
                        std::int32_t n_factors, LossFunction<T> loss, PenaltyFunction<T> penalty);

}  // namespace warpfactor
