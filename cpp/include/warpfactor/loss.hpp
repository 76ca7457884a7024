// SPDX-License-Identifier: Apache-2.0
// The losses, for callers and kernels alike: also compiled by CUDA's run-time compiler, which has no standard library.
#pragma once

#if !defined(__CUDACC_RTC__)  // there cpp/src/fixed_width.hpp comes first
#include <cstdint>
#endif

namespace warpfactor {

/// The largest rank.
inline constexpr std::int32_t kMostFactors = 1024;

/// The error term l(r, x) of a rating r and its score x = mu + b_u + b_i + p.q, and what rating a score predicts.
enum class Loss {
  squared,   ///< (r - x)^2 / 2, reported without the half; predicts x
  absolute,  ///< |r - x|; predicts x
  huber,     ///< e^2 / 2 where |e| = |r - x| <= delta, delta (|e| - delta / 2) beyond (Huber 1964); predicts x
  /// log(1 + exp(-y x)), where y = -1 or 1 is the label: the ratings are all -1 or 1, or all 0 or 1. Predicts the
  /// probability of the upper label, 1 / (1 + exp(-x)), mapped to the labels' range.
  logistic,
  squared_hinge,  ///< max(0, 1 - y x)^2 / 2, labels as for logistic; predicts x, whose sign tells the label
  /// r log(r / x) - r + x for r >= 0: the Poisson deviance, halved, or generalized Kullback-Leibler divergence (Lee and
  /// Seung 2000). All factors and biases are non-negative. Below a millionth of the mean rating the loss goes on in a
  /// straight line. Predicts x.
  poisson,
  custom,  ///< a function that the caller gives, see LossFunction and TrainOptions; predicts x
};

/// What a score x predicts.
enum class Link {
  identity,            ///< x
  probability,         ///< 1 / (1 + exp(-x))
  signed_probability,  ///< 2 / (1 + exp(-x)) - 1
};

/// In what units a loss is trained.
enum class LossUnits {
  scores,  ///< z = (r - mu) / s, with mu the mean and s the standard deviation of the ratings
  labels,  ///< z = -1 or 1
  counts,  ///< z = r / s, with s the mean of the ratings; none below 0
};

/// By what training is found to have diverged.
enum class LossMeasure {
  rmse,       ///< the root mean square of r - prediction
  loss,       ///< the mean loss, which grows as the errors do
  root_loss,  ///< the root of twice the mean loss, which grows as their squares do
};

/// What a loss is like: all that is known of it but its formula, which is in cpp/src/update_rule.hpp.
struct LossTraits {
  Loss loss;
  const char* name;
  LossUnits units;
  Link link;         ///< probability becomes signed_probability where the labels are -1 and 1
  bool nonnegative;  ///< implies that all factors and biases are kept >= 0
  /// The power of the errors as which the loss grows near 0: a loss of 1 in units of training is s^degree in those of
  /// the ratings. 0: it has no unit.
  int degree;
  bool bounded;  ///< |dl/dx| is at most 1 in units of training, so that steps need no limit
  LossMeasure measure;
  double curvature;   ///< about d2l/dx2 where training begins: how strong a penalty weighs as much as with squared
  bool told_by_loss;  ///< errors about divergence tell the loss, and not the RMSE

  [[nodiscard]] constexpr bool labels() const { return units == LossUnits::labels; }
};

/// A row for each loss, in the order of the enum. A new loss is a row here and a formula in update_rule.hpp.
inline constexpr LossTraits kLosses[] = {
    {Loss::squared, "squared", LossUnits::scores, Link::identity, false, 2, false, LossMeasure::rmse, 1, false},
    {Loss::absolute, "absolute", LossUnits::scores, Link::identity, false, 1, true, LossMeasure::rmse, 1, false},
    {Loss::huber, "huber", LossUnits::scores, Link::identity, false, 2, false, LossMeasure::rmse, 1, false},
    {Loss::logistic, "logistic", LossUnits::labels, Link::probability, false, 0, true, LossMeasure::loss, 0.25, true},
    {Loss::squared_hinge, "squared_hinge", LossUnits::labels, Link::identity, false, 0, false, LossMeasure::root_loss,
     1, true},
    {Loss::poisson, "poisson", LossUnits::counts, Link::identity, true, 1, false, LossMeasure::loss, 1, false},
    {Loss::custom, "custom", LossUnits::scores, Link::identity, false, 0, false, LossMeasure::loss, 1, true},
};
inline constexpr int kLossCount = sizeof(kLosses) / sizeof(kLosses[0]);

/// `loss` must be one of the enum.
constexpr const LossTraits& traits_of(Loss loss) { return kLosses[static_cast<int>(loss)]; }

/// A loss that the caller gives. Reads eight ratings r and as many scores x, writes l(r, x) and dl/dx of each. Called
/// by several threads at once; must not throw.
template <class T>
using LossFunction = void (*)(const T* ratings, const T* scores, T* losses, T* slopes);

/// A penalty that the caller gives, h(w) of each parameter: reads n of them, writes h'(w) of each. n is a multiple of
/// 16. Called by several threads at once; must not throw.
template <class T>
using PenaltyFunction = void (*)(const T* values, T* slopes, std::int64_t n);

struct LossTerm {
  double loss;   ///< l(r, x) as its formula says
  double slope;  ///< dl/dx
};

/// One rating's loss as training computes it (not for Loss::custom), in the units in which it trains: `rating` is y for
/// losses with labels, and for poisson the mean rating is 1. Throws std::invalid_argument for another loss.
LossTerm loss_term(Loss loss, double rating, double score, double huber_delta = 1);

}  // namespace warpfactor
