// SPDX-License-Identifier: Apache-2.0
// Alone in this file, so that the kernels, which may see no standard library, share the names with their callers.
#pragma once

#if defined(__CUDACC_RTC__)  // CUDA's run-time compiler has no standard library
namespace std {
using int32_t = int;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using int64_t = long long;
}  // namespace std
#else
#include <cstdint>
#endif

namespace warpfactor {

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
  custom,  ///< the caller's, see LossFunction and TrainOptions; predicts x
};

/// A loss of the caller's. Reads eight ratings r and as many scores x, writes l(r, x) and dl/dx of each. Called by
/// several threads at once; must not throw.
template <class T>
using LossFunction = void (*)(const T* ratings, const T* scores, T* losses, T* slopes);

/// A penalty of the caller's, h(w) of each parameter: reads n of them, writes h'(w) of each. n is a multiple of 16.
/// Called by several threads at once; must not throw.
template <class T>
using PenaltyFunction = void (*)(const T* values, T* slopes, std::int64_t n);

/// What a score x predicts.
enum class Link {
  identity,            ///< x
  probability,         ///< 1 / (1 + exp(-x))
  signed_probability,  ///< 2 / (1 + exp(-x)) - 1
};

struct LossTerm {
  double loss;   ///< l(r, x) as its formula says
  double slope;  ///< dl/dx
};

/// One rating's loss as training computes it (not for Loss::custom), in the units in which it trains: `rating` is y for
/// losses with labels, and for poisson the mean rating is 1.
LossTerm loss_term(Loss loss, double rating, double score, double huber_delta = 1);

}  // namespace warpfactor
