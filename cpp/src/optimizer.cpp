// SPDX-License-Identifier: Apache-2.0
#include "optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "update_rule.hpp"

namespace warpfactor {
namespace {

// traits_of() takes a row by its number.
static_assert([] {
  for (std::size_t n = 0; n < std::size(kOptimizers); ++n) {
    if (static_cast<std::size_t>(kOptimizers[n].optimizer) != n) return false;
  }
  return std::size(kOptimizers) == names(Optimizer{}).size();
}());

// A weight lifts a step's rate up to this, or the step would overshoot: at twice it, two biases alone would.
constexpr double kMaxWeightedRate = 0.25;

/// The most that the ratings of one row weigh, weights having a mean of 1.
double most_weight(bool of_users, const std::vector<std::uint32_t>& counts, const RatingSource& ratings,
                   const Survey& rated) {
  if (!ratings.weighted()) return *std::max_element(counts.begin(), counts.end());
  std::vector<double> sums(counts.size(), 0.0);
  ratings.for_each_part([&](const RatingsView& part, std::int64_t) {
    const auto& rows = of_users ? part.users : part.items;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      sums[static_cast<std::size_t>(rows[r])] += static_cast<double>(part.weights[r]);
    }
  });
  return *std::max_element(sums.begin(), sums.end()) * static_cast<double>(rated.counted) / rated.weight;
}

bool is_proximal(const TrainParams& params) { return params.l1_ratio > 0 || is_nonnegative(params); }

}  // namespace

StepRule step_rule(const TrainParams& params) {
  switch (params.optimizer) {
    case Optimizer::adagrad:
      return params.adagrad_per == AdagradPer::row ? StepRule::adagrad_row : StepRule::adagrad_element;
    case Optimizer::adam: return StepRule::adam;
    case Optimizer::sgd:
    case Optimizer::gd: break;
  }
  return params.momentum > 0 ? StepRule::momentum : StepRule::plain;
}

bool is_nonnegative(const TrainParams& params) { return params.nonnegative || traits_of(params.loss).nonnegative; }

std::string_view pass_kind_of(const TrainParams& params, bool penalty) {
  const bool plain = rule::is_plain(step_rule(params), is_proximal(params), penalty);
  switch (pass_kind(step_rule(params), plain, false)) {
    case PassKind::plain:
    case PassKind::pulled: break;
    case PassKind::general: return "general";
    case PassKind::momentum: return "momentum";
    case PassKind::adagrad_row: return "adagrad_row";
    case PassKind::adagrad_element: return "adagrad_element";
    case PassKind::adam: return "adam";
  }
  return "plain";
}

std::int64_t batch_size(const TrainParams& params, std::int64_t n_ratings) {
  return traits_of(params.optimizer).all_together ? n_ratings : params.batch_size;
}

double first_learning_rate(const TrainParams& params, const RatingSource& ratings, const Survey& rated, bool pulled) {
  if (params.learning_rate) return *params.learning_rate;
  const std::int64_t size = batch_size(params, rated.counted);
  double rate = 0;
  // The numbers, but for 0.08, are those that did well on ML-100K (u1), with 30 factors and 20 epochs.
  switch (params.optimizer) {
    case Optimizer::sgd: rate = (pulled ? 0.08 : 0.04) * (1 - params.momentum); break;
    case Optimizer::adagrad: rate = params.adagrad_per == AdagradPer::row ? 0.1 : 0.05; break;
    case Optimizer::adam: rate = 0.003; break;
    case Optimizer::gd: rate = std::numeric_limits<double>::infinity(); break;
  }
  if (size == 0 || !traits_of(params.optimizer).rate_by_batch) return rate;
  // The curvature along the biases of the busiest user and item is at most what their ratings weigh in a step.
  const double share = std::min(1.0, static_cast<double>(size) / static_cast<double>(rated.counted));
  return std::min(rate, 1 / (share * (most_weight(true, rated.user_counts, ratings, rated) +
                                      most_weight(false, rated.item_counts, ratings, rated))));
}

template <class T>
StepSizes<T> step_sizes(const TrainParams& params, const Standardization& z, double learning_rate,
                        std::int32_t active_factors, LossFunction<T> loss, PenaltyFunction<T> penalty) {
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
  sizes.reg = both(*params.reg, l2);
  sizes.reg_bias = both(*params.reg_bias, l2);
  // Half of the way to the prior means: beyond all of it steps would overshoot, and with momentum before.
  sizes.max_pull = static_cast<T>((1 - params.momentum) / (2 * learning_rate));
  sizes.max_weight = static_cast<T>(std::max(1.0, kMaxWeightedRate / learning_rate));
  sizes.max_slope = static_cast<T>(z.max_slope);
  sizes.per_element = static_cast<T>(1.0 / static_cast<double>(active_factors + (params.biases ? 1 : 0)));
  sizes.loss = {z.loss.loss,
                static_cast<T>(z.loss.offset),
                static_cast<T>(z.loss.delta),
                static_cast<T>(z.loss.floor),
                static_cast<T>(z.loss.answer_scale),
                static_cast<T>(z.loss.answer_shift),
                static_cast<T>(z.loss.slope_scale),
                loss};
  sizes.proximal = is_proximal(params);
  sizes.l1 = both(*params.reg, l1);
  sizes.l1_bias = both(*params.reg_bias, l1);
  sizes.lowest = static_cast<T>(z.lowest);
  return sizes;
}

template StepSizes<float> step_sizes(const TrainParams&, const Standardization&, double, std::int32_t,
                                     LossFunction<float>, PenaltyFunction<float>);
template StepSizes<double> step_sizes(const TrainParams&, const Standardization&, double, std::int32_t,
                                      LossFunction<double>, PenaltyFunction<double>);

}  // namespace warpfactor
