// SPDX-License-Identifier: Apache-2.0
#include "optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace warpfactor {
namespace {

// A weight lifts a step's rate up to this, or the step would overshoot: at twice it, two biases alone would.
constexpr double kMaxWeightedRate = 0.25;

}  // namespace

StepRule step_rule(const TrainParams& params) {
  switch (params.optimizer) {
    case Optimizer::adagrad:
      return params.adagrad_per == AdagradPer::row ? StepRule::adagrad_row : StepRule::adagrad_element;
    case Optimizer::adam: return StepRule::adam;
    default: return params.momentum > 0 ? StepRule::momentum : StepRule::plain;
  }
}

Remembered remembered_by(StepRule rule) {
  const bool adam = rule == StepRule::adam, momentum = rule == StepRule::momentum;
  return {adam || momentum || rule == StepRule::adagrad_element, adam, adam || rule == StepRule::adagrad_row};
}

template <class T>
StepSizes<T> step_sizes(const TrainParams& params, const Standardization& z, double learning_rate,
                        std::int32_t n_factors, LossFunction<T> loss, PenaltyFunction<T> penalty) {
  const auto both = [](const PerSide& reg, double share) {
    return Sides<T>{static_cast<T>(share * reg.users), static_cast<T>(share * reg.items)};
  };
  const double l1 = params.l1_ratio, l2 = 1 - l1;
  StepSizes<T> sizes{};
  sizes.rule = step_rule(params);
  sizes.learning_rate = static_cast<T>(learning_rate);
  sizes.momentum = static_cast<T>(params.momentum);
  sizes.beta_1 = static_cast<T>(params.beta_1);
  sizes.beta_2 = static_cast<T>(params.beta_2);
  sizes.rest_1 = static_cast<T>(1 - params.beta_1);
  sizes.rest_2 = static_cast<T>(1 - params.beta_2);
  // Where squares of gradients underflow, epsilon must not, or a gradient of 0 would make a step of 0 / 0.
  sizes.epsilon =
      static_cast<T>(std::max(params.epsilon, std::sqrt(static_cast<double>(std::numeric_limits<T>::min()))));
  sizes.penalty = penalty;
  sizes.reg = both(params.reg, l2);
  sizes.reg_bias = both(params.reg_bias, l2);
  sizes.max_weight = static_cast<T>(std::max(1.0, kMaxWeightedRate / learning_rate));
  sizes.max_slope = static_cast<T>(z.max_slope);
  sizes.per_element = static_cast<T>(1.0 / static_cast<double>(n_factors + (params.biases ? 1 : 0)));
  sizes.loss = {z.loss.loss,
                static_cast<T>(z.loss.offset),
                static_cast<T>(z.loss.delta),
                static_cast<T>(z.loss.floor),
                static_cast<T>(z.loss.answer_scale),
                static_cast<T>(z.loss.answer_shift),
                static_cast<T>(z.loss.slope_scale),
                loss};
  sizes.proximal = l1 > 0 || z.lowest == 0;
  sizes.l1 = both(params.reg, l1);
  sizes.l1_bias = both(params.reg_bias, l1);
  sizes.lowest = static_cast<T>(z.lowest);
  return sizes;
}

template StepSizes<float> step_sizes(const TrainParams&, const Standardization&, double, std::int32_t,
                                     LossFunction<float>, PenaltyFunction<float>);
template StepSizes<double> step_sizes(const TrainParams&, const Standardization&, double, std::int32_t,
                                      LossFunction<double>, PenaltyFunction<double>);

}  // namespace warpfactor
