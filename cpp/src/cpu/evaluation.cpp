// SPDX-License-Identifier: Apache-2.0
#include "cpu/evaluation.hpp"

#include <algorithm>
#include <vector>

#include "cpu/block_pass.hpp"
#include "cpu/tuning.hpp"
#include "update_rule.hpp"

namespace warpfactor {
namespace {

/// Turns scores into predictions, and gives their losses. Both arrays have room for whole groups.
template <class T>
void custom_losses(LossFunction<T> custom, const LossShape<double>& shape, const float* values, std::int64_t size,
                   T* scores, T* losses) {
  for (std::int64_t r = 0; r < size; ++r) {
    scores[r] = static_cast<T>(shape.answer_shift) + static_cast<T>(shape.answer_scale) * scores[r];
  }
  for (std::int64_t r = 0; r < size; r += kGroup) {
    alignas(kRowAlignment) T ratings[kGroup], slopes[kGroup];
    for (std::int64_t j = 0; j < kGroup; ++j) {
      ratings[j] = static_cast<T>(values[std::min(r + j, size - 1)]);
      if (r + j >= size) scores[r + j] = scores[size - 1];
    }
    custom(ratings, scores + r, losses + r, slopes);
  }
}

}  // namespace

template <class T>
PassSums losses_of(const Kernels<T>& kernels, const EvaluatedRatings<T>& ratings, const LossShape<double>& shape,
                   LossFunction<T> custom, ThreadTeam& team) {
  const std::int64_t n = ratings.pairs.n_pairs;
  const bool squared = shape.loss == Loss::squared;
  std::vector<PassSums> sums(static_cast<std::size_t>(n / ThreadTeam::kSlice + 1));
  team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
    constexpr std::int64_t kBatch = 1024;
    alignas(kRowAlignment) T predicted[kBatch], losses[kBatch];
    PassSums sum;
    for (std::int64_t from = begin; from < end; from += kBatch) {
      const std::int64_t size = std::min(kBatch, end - from);
      PairBatch<T> pairs = ratings.pairs;
      pairs.users += from;
      pairs.items += from;
      pairs.n_pairs = size;
      pairs.out = predicted;
      kernels.predict_pairs(pairs);
      if (custom != nullptr) custom_losses(custom, shape, ratings.values + from, size, predicted, losses);
      for (std::int64_t r = 0; r < size; ++r) {
        const auto value = static_cast<double>(ratings.values[from + r]), score = static_cast<double>(predicted[r]);
        const double weight = ratings.weights != nullptr ? static_cast<double>(ratings.weights[from + r]) : 1.0;
        if (squared) {
          const double error = value - score;
          sum.loss += weight * error * error;
        } else if (custom != nullptr) {
          sum.loss += weight * static_cast<double>(losses[r]);
          sum.squares += weight * (value - score) * (value - score);
        } else {
          const rule::LossTerms<double> terms = rule::loss_terms(value, score, shape);
          sum.loss += weight * terms.reported;
          sum.squares += weight * terms.square;
        }
      }
    }
    if (squared) sum.squares = sum.loss;
    sums[static_cast<std::size_t>(begin / ThreadTeam::kSlice)] = sum;
  });
  return total(sums);
}

template PassSums losses_of<float>(const Kernels<float>&, const EvaluatedRatings<float>&, const LossShape<double>&,
                                   LossFunction<float>, ThreadTeam&);
template PassSums losses_of<double>(const Kernels<double>&, const EvaluatedRatings<double>&, const LossShape<double>&,
                                    LossFunction<double>, ThreadTeam&);

}  // namespace warpfactor
