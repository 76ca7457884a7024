// SPDX-License-Identifier: Apache-2.0
// How the parameters shape the steps of an epoch, for every device.
#pragma once

#include <string_view>

#include "standardize.hpp"
#include "step_sizes.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// What is particular to an optimizer, apart from its rule.
struct OptimizerTraits {
  Optimizer optimizer;
  bool momentum;       ///< takes one
  bool all_together;   ///< a step takes all ratings, so it takes no batch_size
  bool late_factors;   ///< factors may join in after a warm-up
  bool rate_by_batch;  ///< many ratings of a row in a step need a smaller learning rate
  /// With early stopping, the epochs in which its learning rate falls, for one of sgd. Adagrad's best numbers are 120
  /// on ML-100K and 240 on ml-latest-small, sgd's 50 and 80.
  double stopping_times;
};
/// In the order of the enum.
inline constexpr OptimizerTraits kOptimizers[] = {
    {Optimizer::sgd, true, false, true, true, 1},
    {Optimizer::adagrad, false, false, true, true, 3},
    {Optimizer::adam, false, false, false, false, 1},  // corrects its averages for a row as a whole; steps are bounded
    {Optimizer::gd, true, true, true, true, 1},
};
/// `optimizer` must be one of the enum.
constexpr const OptimizerTraits& traits_of(Optimizer optimizer) { return kOptimizers[static_cast<int>(optimizer)]; }

StepRule step_rule(const TrainParams& params);

/// Whether factors and biases are kept at 0 or above.
bool is_nonnegative(const TrainParams& params);

/// The PassKind that steps of one rating need, by its name, where rows have no pulls of their own: those are "pulled"
/// in place of "plain". `penalty`: whether the caller gives one.
std::string_view pass_kind_of(const TrainParams& params, bool penalty);

/// The ratings of a step, of `n_ratings` in all; 0: each rating makes a step of its own.
std::int64_t batch_size(const TrainParams& params, std::int64_t n_ratings);

/// The learning rate of the first epoch: that of the parameters, or what TrainParams says that none means.
/// `pulled`: whether rows have pulls of their own.
double first_learning_rate(const TrainParams& params, const RatingSource& ratings, const Survey& rated, bool pulled);

/// `active_factors`: as in Backend::run_epoch. `loss` and `penalty`: custom functions, nullptr where there are
/// none.
template <class T>
StepSizes<T> step_sizes(const TrainParams& params, const Standardization& z, double learning_rate,
                        std::int32_t active_factors, LossFunction<T> loss, PenaltyFunction<T> penalty);

}  // namespace warpfactor
