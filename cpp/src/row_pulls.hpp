// SPDX-License-Identifier: Apache-2.0
// How strongly each row's parameters are pulled to their prior means.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "memory_plan.hpp"
#include "standardize.hpp"
#include "step_sizes.hpp"
#include "survey.hpp"
#include "warpfactor/params.hpp"

namespace warpfactor {

/// How many times as strongly as the factors' the biases' prior means are pulled to zero.
inline constexpr double kBiasRho = 5;
/// The prior means move after every so many epochs, from the second one on. After each epoch: RMSE of MovieLens 1M
/// 0.8244 instead of 0.8252, of five smaller sets the same, at twice the cost (prototype, 2026-11-28).
inline constexpr std::int32_t kMeansEvery = 2;
/// Steps of conjugate gradients to the prior means of rows that do not move. More change no fourth digit of an RMSE,
/// see docs/explanations/accuracy.md.
inline constexpr int kMeansSteps = 6;

/// Whether rows have pulls of their own. If not, reg and reg_bias are all there is. `params` are resolved.
bool has_row_pulls(const TrainParams& params);
/// Whether the users' or the items' rows have prior means other than zero. `params` are resolved.
bool has_means(const TrainParams& params, bool of_users);

/// The pulls of one side's rows, in the external order: those per rating, and each row's share per row, c / n_u, with
/// n_u what the row's ratings weigh. `params` are resolved.
template <class T>
std::vector<RowPull<T>> row_pulls(const RatingSource& ratings, const Survey& rated, const TrainParams& params,
                                  const RatingUnits& units, double start_bias, bool of_users);

/// The same from what the ratings of each row weigh; weights have a mean of 1.
template <class T>
std::vector<RowPull<T>> row_pulls(const std::vector<double>& weights, const TrainParams& params, double start_bias,
                                  bool of_users);

/// Tells what row_pulls() of one side takes; nothing of it stays.
template <class T>
void plan_row_pulls(MemoryPlan& plan, std::int64_t n_rows) {
  plan.touch("pulls of the rows", n_rows * static_cast<std::int64_t>(sizeof(double) + sizeof(RowPull<T>)));
}
/// Whether rows have pulls of their own by default: where a pull of whole rows makes sense.
bool has_usual_pulls(const TrainParams& params, bool custom_penalty);

}  // namespace warpfactor
