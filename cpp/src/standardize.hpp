// SPDX-License-Identifier: Apache-2.0
// What a loss asks of the ratings, and the units in which it is trained.
#pragma once

#include "step_sizes.hpp"
#include "survey.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {

/// The units in which ratings and weights are trained on: weights have a mean of 1.
struct RatingUnits {
  double shift = 0;
  double scale = 1;
  double weight_scale = 1;

  /// z
  [[nodiscard]] double standardized(double rating) const { return (rating - shift) / scale; }
  [[nodiscard]] float weight(float given) const {
    return static_cast<float>(static_cast<double>(given) * weight_scale);
  }
};

/// How the numbers of training relate to external ones, which are in the units of the ratings. Factors and biases are
/// in z units on the device.
struct Standardization : RatingUnits {
  double model_scale = 1;  ///< one z unit of a score in external units; a product of factors scales like a score
  double loss_scale = 1;   ///< one z unit of the loss in external units
  double global_mean = 0;  ///< mu, in external units
  double start_bias = 0;   ///< in z units, like all below
  double start_factor = 0;
  double start_score = 0;     ///< about the first predictions, in external units
  double max_slope = 0;       ///< where the loss's slope is clipped
  double furthest_error = 0;  ///< what mean_error() may at most be, or training has diverged
  double lowest = 0;          ///< of any factor or bias
  Link link = Link::identity;
  LossShape<double> loss;

  /// Makes `mean`, in external units, the global mean of a model of scores of any sign.
  void centre(double mean);

  /// How far off predictions are, on a scale on which scores ten times as far off give about ten times as much.
  [[nodiscard]] double mean_error(double mean_loss, double mean_square) const;
};

/// Throws std::invalid_argument for ratings that the loss cannot take. `given`: whether the caller gives the initial
/// factors, so that nothing is known about the errors at the start.
Standardization standardize(const RatingSource& ratings, const Survey& rated, const RatingsView& validation,
                            const TrainParams& params, double learning_rate, bool given);

}  // namespace warpfactor
